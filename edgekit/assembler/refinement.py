"""Local search over genes: moves of bricks inside and between blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgekit.supernet.spec import SupernetSpec

BEAM = 8
MAX_ROUNDS = 40

Genes = NDArray[np.int64]
Values = NDArray[np.float64]
Allowed = Callable[[Genes], NDArray[np.bool_]]
Score = Callable[[Genes], Values]


def refine(spec: SupernetSpec, start: Genes, allowed: Allowed, score: Score) -> NDArray[np.int64]:
    """The best that a beam search from the best starts of each image size finds, when no move improves the score."""
    ends = np.stack([*refined_by_size(spec, start, allowed, score)])
    winner: NDArray[np.int64] = ends[int(np.argmax(score(ends)))]
    return winner


def refined_by_size(spec: SupernetSpec, start: Genes, allowed: Allowed, score: Score) -> Iterator[NDArray[np.int64]]:
    for size in np.unique(start[:, 0]):
        yield _refined(spec, start[start[:, 0] == size], allowed, score)


def _refined(spec: SupernetSpec, start: Genes, allowed: Allowed, score: Score) -> NDArray[np.int64]:
    beam = start[np.argsort(-score(start), kind="stable")[:BEAM]]
    best = -np.inf
    for _ in range(MAX_ROUNDS):
        candidates = np.unique(np.concatenate([beam, neighbours(spec, beam)]), axis=0)
        candidates = candidates[allowed(candidates)]
        if not len(candidates):  # a start on the very edge: a sum over another batch may round to the other side
            break
        scores = score(candidates)
        order = np.argsort(-scores, kind="stable")[:BEAM]
        beam = candidates[order]
        if scores[order[0]] <= best:
            break
        best = scores[order[0]]
    winner: NDArray[np.int64] = beam[0]
    return winner


def neighbours(spec: SupernetSpec, genes_PG: Genes) -> Genes:
    """One brick more or less, and up to two bricks less in one block for up to two more in another; the same image size."""
    return _moved(spec, genes_PG, _moves(len(spec.blocks)))


def neighbours_of_any_size(spec: SupernetSpec, genes_PG: Genes) -> Genes:
    """The neighbours, and those with the image size next to it."""
    larger_image = np.eye(1, genes_PG.shape[1], dtype=np.int64)
    return _moved(spec, genes_PG, np.concatenate([_moves(len(spec.blocks)), larger_image, -larger_image]))


def _moved(spec: SupernetSpec, genes_PG: Genes, moves_MG: Genes) -> Genes:
    moved = (genes_PG[:, None] + moves_MG).reshape(-1, genes_PG.shape[1])
    legal: Genes = moved[((moved >= spec.least_genes) & (moved <= spec.most_genes)).all(1)]
    return legal


@cache
def _moves(blocks: int) -> Genes:
    unit = np.eye(blocks, dtype=np.int64)
    others = ~np.eye(blocks, dtype=bool)
    exchanges = ((more * unit[:, None] - less * unit[None, :])[others] for more, less in ((1, 1), (1, 2), (2, 1)))
    moves = np.concatenate([unit, -unit, *exchanges])
    return np.concatenate([np.zeros((len(moves), 1), np.int64), moves], axis=1)

"""Fills a supernet's archive: the best genotype of every cell of speed and size, for each family of tasks.

MAP-Elites (arXiv 1504.04909), in batches: children of random elites, changed in a gene or two or crossed, take a cell where they
are better than its elite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.costs import CostTables
from edgekit.assembler.elites import ANY_TASK, ARCHIVE, Elites, hardness
from edgekit.assembler.judge import Judge
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.curriculum import Curriculum
from edgekit.assembler.training.measurements import sample_tasks
from edgekit.assembler.training.recipe import Recipe
from edgekit.core.budget import Cost
from edgekit.core.errors import UsageError
from edgekit.core.operators import Operator
from edgekit.core.records import sha256_of, write_json
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.storage import CARD, RECIPE, SupernetFolder, shipped_sums
from edgekit.tasks.task import Task

FAMILIES: Final = 6
TASKS_A_FAMILY: Final = 6
SPEEDS, SIZES = 6, 2
STARTS, GENERATIONS, CHILDREN = 600, 80, 64

Genes = NDArray[np.int64]
Values = NDArray[np.float64]


def illuminate(searcher: Searcher, tasks: Sequence[Task], *, seed: int, report: Callable[[int, int], None]) -> Elites:
    """Elites by their mean predicted accuracy over some tasks of a family; they descend from what the generator proposes.

    Families hold equal parts of `tasks`, by hardness. Cells are log-spaced in MACs and in bytes of int8 weights, which stand
    for speed and size on any target. Deterministic by seed.
    """
    rng = np.random.default_rng(seed)
    errors = np.array([hardness(searcher.judge_of(task)) for task in tasks])
    families = [part for part in np.array_split(np.argsort(errors, kind="stable"), FAMILIES) if len(part)]
    edges = [(errors[easier[-1]] + errors[harder[0]]) / 2 for easier, harder in pairwise(families)]
    chosen = [
        [searcher.judge_of(tasks[number]) for number in part[:: -(-len(part) // TASKS_A_FAMILY)]] for part in families
    ]
    groups = {ANY_TASK: [part[len(part) // 2] for part in chosen]}
    groups |= {1 + index: part for index, part in enumerate(chosen)}

    widest = Task(indices=tuple(range(searcher.spec.labels)), text="")
    tables = CostTables.of(searcher.spec, widest, _portable_cost)
    start = rng.permutation(searcher.chains(widest, seed).reshape(-1, len(searcher.spec.most_genes)))[:STARTS]
    genes, family = [], []
    for done, (number, group) in enumerate(groups.items()):
        elites = _fill(searcher.spec, start, group, tables, rng)
        genes.append(elites)
        family.append(np.full(len(elites), number))
        report(done + 1, len(groups))
    return Elites(
        genes_EG=np.concatenate(genes).astype(np.uint8),
        family_E=np.concatenate(family).astype(np.uint8),
        edges_F=np.array(edges, np.float32),
    )


def add_archive(folder: SupernetFolder, *, report: Callable[[int, int], None]) -> Path:
    """Writes the archive of a finished supernet into its folder, in place of an older one, and its sum into the card.

    Tasks are drawn as its recipe says. Returns the file. Raises BadInputError where the folder cannot be read or written,
    UsageError where it ships with edgekit, which knows its card by SHA-256.
    """
    if shipped_sums(folder.path):
        raise UsageError(
            f"{folder.name} ships with edgekit and stays as it is",
            hint=f"copy {folder.path}, and fill the archive of the copy",
        )
    others = {file: sha256 for file, sha256 in folder.card["sha256"].items() if file != ARCHIVE}
    without = replace(folder, card={**folder.card, "sha256": others})
    recipe = Recipe.load(folder.path / RECIPE)
    tasks = sample_tasks(Curriculum.of(folder.vocabulary, seed=recipe.seed), seed=recipe.seed)
    path = folder.path / ARCHIVE
    illuminate(Assembler.load(without).searcher, tasks, seed=recipe.seed, report=report).save(path)
    write_json(folder.path / CARD, {**folder.card, "sha256": {**others, ARCHIVE: sha256_of(path)}})
    return path


def _fill(
    spec: SupernetSpec, start: Genes, judges: Sequence[Judge], tables: CostTables, rng: np.random.Generator
) -> Genes:
    """The elites of all cells that were reached."""

    def fitness(genes: Genes) -> Values:
        mean: Values = np.mean([judge.accuracy(genes) for judge in judges], axis=0)
        return mean

    elites = _best_of_cells(start, fitness(start), tables)
    for _ in range(GENERATIONS):
        pool = np.unique(np.concatenate([elites, _children(spec, elites, rng)]), axis=0)
        elites = _best_of_cells(pool, fitness(pool), tables)
    return elites


def _best_of_cells(genes: Genes, fitness: Values, tables: CostTables) -> Genes:
    cell = _cells(genes, tables)
    order = np.lexsort((-fitness, cell))
    _, first = np.unique(cell[order], return_index=True)
    best: Genes = genes[order[first]]
    return best


def _cells(genes: Genes, tables: CostTables) -> NDArray[np.int64]:
    costs, full = tables.of_genes(genes), tables.full
    speed, size = (
        np.floor(np.log2(costs[name] / getattr(full, name)) * an_octave).astype(np.int64)
        for name, an_octave in (("macs", SPEEDS), ("size_bytes", SIZES))
    )
    cells: NDArray[np.int64] = speed * 1000 + size
    return cells


def _children(spec: SupernetSpec, elites: Genes, rng: np.random.Generator) -> Genes:
    """Half with genes from two parents, all with a step in one or two genes."""
    mother, father = (elites[rng.integers(len(elites), size=CHILDREN)] for _ in range(2))
    crossed = np.where(rng.random(mother.shape) < 0.5, mother, father)
    born = np.where(np.arange(CHILDREN)[:, None] % 2, crossed, mother)
    for _ in range(2):
        born[np.arange(CHILDREN), rng.integers(born.shape[1], size=CHILDREN)] += rng.integers(-1, 2, size=CHILDREN)
    return born.clip(spec.least_genes, spec.most_genes)


def _portable_cost(operators: Sequence[Operator]) -> Cost:
    """Of no target: MACs for time, int8 weights with 32 bit biases for size."""
    macs = sum(operator.macs for operator in operators)
    size_bytes = sum(operator.weights + 4 * operator.biases for operator in operators)
    return Cost(latency_ms=macs, size_bytes=size_bytes, peak_ram_bytes=0, macs=macs)

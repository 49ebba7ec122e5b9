"""Supernets so small that every genotype can be tried, with prices of the real rpi4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import combinations, product

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from random_tasks import any_task

from edgekit.assembler.costs import CostOf, CostTables
from edgekit.assembler.elites import Elites
from edgekit.assembler.generator import Generator
from edgekit.assembler.predictor import AccuracyPredictor
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.illumination import illuminate
from edgekit.assembler.uncertainty import Margin, Uncertainty
from edgekit.core.budget import Cost
from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.target import parse_target
from edgekit.pipeline.figures import price
from edgekit.supernet.description import describe
from edgekit.supernet.spec import BlockKind, BlockSpec, SupernetSpec
from edgekit.tasks.task import Task

LABELS = 6


def _block(
    kind: BlockKind, channels_in: int, channels_out: int, hidden: int, bricks: int, *, kernel: int = 3, stride: int = 1
) -> BlockSpec:
    return BlockSpec(
        kind=kind,
        in_channels=channels_in,
        out_channels=channels_out,
        hidden_channels=hidden,
        kernel=kernel,
        stride=stride,
        bricks=bricks,
    )


# Numbers of bricks differ from block to block, and the memory peaks now in one block, now in another.
SPEC = SupernetSpec(
    image_sizes=(12, 16),
    stem_channels=8,
    blocks=(
        _block(BlockKind.FUSED, 8, 8, 32, 4),
        _block(BlockKind.INVERTED, 8, 16, 48, 6, stride=2),
        _block(BlockKind.INVERTED, 16, 16, 160, 5, kernel=5),
        _block(BlockKind.INVERTED, 16, 24, 96, 3),
    ),
    labels=LABELS,
)

genes = st.tuples(*(st.integers(least, most) for least, most in zip(SPEC.least_genes, SPEC.most_genes, strict=True)))


def all_genes(spec: SupernetSpec = SPEC) -> NDArray[np.int64]:
    ranges = (range(least, most + 1) for least, most in zip(spec.least_genes, spec.most_genes, strict=True))
    return np.array(list(product(*ranges)))


def tasks() -> st.SearchStrategy[Task]:
    return any_task(LABELS)


def cost_of(target: str = "rpi4:tflite-int8") -> CostOf:
    chosen = parse_target(target)
    return partial(price, load_cost_model(chosen), chosen.precision)


def direct_cost(of_genotype: Sequence[int], task: Task, pricing: CostOf) -> Cost:
    """Of the whole list of operators at once, without tables."""
    return _direct_cost(tuple(of_genotype), len(task.head_rows(LABELS)), task.sums, pricing)


@cache
def _direct_cost(of_genotype: tuple[int, ...], rows: int, sums: int | None, pricing: CostOf) -> Cost:
    """Tasks with equal heads cost the same."""
    return pricing(describe(SPEC, SPEC.genotype(of_genotype), rows=rows, sums=sums))


def random_predictor(seed: int, *, monotone: bool) -> AccuracyPredictor:
    """Its labels differ in difficulty. A further brick never confuses where `monotone`, else now and then."""
    draw = torch.Generator().manual_seed(seed)

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=draw)

    predictor = AccuracyPredictor(SPEC).requires_grad_(False)
    for parameter in predictor.traits.parameters():
        positive = noise(parameter).abs() * 0.06
        parameter.copy_(positive if monotone else positive + 0.06 * noise(parameter))
    predictor.level.fill_(-2.0)
    predictor.shape.fill_(1.0)
    predictor.base.copy_(noise(predictor.base) - 0.5)
    predictor.common.zero_()
    falling = -noise(predictor.deviation).abs() * 0.15
    predictor.deviation.copy_(falling if monotone else falling + 0.25 * noise(predictor.deviation))
    return predictor.eval()


UNCERTAINTY = Uncertainty(
    accuracy=Margin(systematic=0.01, per_image=0.02, quantile=1.6),
    share=Margin(systematic=0.004, per_image=0.01, quantile=1.2),
)
SOME_TASKS = tuple(
    Task(indices=indices, other=other, text="some")
    for size in (2, 3, 4)
    for indices in combinations(range(LABELS), size)
    for other in (False, True)
)


def searcher(seed: int, *, monotone: bool = True) -> Searcher:
    """With a generator that has learnt nothing, and without an archive."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = Generator(SPEC)
    return Searcher(
        spec=SPEC,
        generator=generator.eval().requires_grad_(False),
        predictor=random_predictor(seed, monotone=monotone),
        uncertainty=UNCERTAINTY,
        elites=Elites.none(SPEC),
    )


def with_archive(empty: Searcher) -> Searcher:
    return replace(empty, elites=illuminate(empty, SOME_TASKS[::7], seed=0, report=lambda _done, _of: None))


def tables(task: Task, pricing: CostOf) -> CostTables:
    return CostTables.of(SPEC, task, pricing)

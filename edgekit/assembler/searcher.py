"""The best genotype inside all limits: the generator proposes, an exact repair keeps the limits, local moves refine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.assembler.costs import CostTables
from edgekit.assembler.generator import BrickMacs, Generator, open_within
from edgekit.assembler.predictor import AccuracyPredictor, counts_tensor
from edgekit.core.budget import Budget, Cost
from edgekit.core.errors import InfeasibleError
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task

LIMITS = tuple(np.geomspace(0.04, 1.0, 14))
SAMPLES = 12
BEAM = 12
MAX_ROUNDS = 40

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembly:
    """A genotype with what it is predicted to reach and to cost on the target."""

    genotype: Genotype
    accuracy: float
    cost: Cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Searcher:
    """Searches genotypes of sorted bricks: a block opens a prefix, so that counts describe a genotype."""

    spec: SupernetSpec
    generator: Generator
    predictor: AccuracyPredictor

    def search(self, task: Task, budget: Budget, tables: CostTables, *, seed: int) -> Assembly:
        """The genotype of best predicted accuracy inside the budget; with `min_accuracy` the fastest that keeps the floor.

        Deterministic by seed. Raises InfeasibleError, with the nearest feasible points, where no genotype fits.
        """
        budget = budget.resolve(tables.full)
        accuracy = self.accuracy_of(task)
        proposals = self.propose(task, budget, tables, seed)
        if not len(proposals):
            raise InfeasibleError(self._nothing_fits(budget, tables, accuracy), hint="raise the limit named above")
        best = self.refine(proposals, partial(tables.within, budget=budget), accuracy)
        if budget.min_accuracy is not None:
            reached = float(accuracy(best[None])[0])
            if reached < budget.min_accuracy:
                best_inside = Assembly(
                    genotype=Genotype.prefix(best.tolist()), accuracy=reached, cost=tables.cost(best.tolist())
                )
                raise self._floor_missed(task, budget, tables, best_inside, seed)
            best = self._cheapest(best, proposals, budget, tables, accuracy)
        counts = best.tolist()
        return Assembly(
            genotype=Genotype.prefix(counts), accuracy=float(accuracy(best[None])[0]), cost=tables.cost(counts)
        )

    def accuracy_of(self, task: Task) -> Callable[[Counts], Values]:
        @torch.no_grad()
        def accuracy(counts_PB: Counts) -> Values:
            predicted: Values = self.predictor(counts_tensor(counts_PB.tolist()), task).double().numpy()
            return predicted

        return accuracy

    @torch.no_grad()
    def propose(self, task: Task, budget: Budget, tables: CostTables, seed: int) -> Counts:
        """Genotypes inside the budget: the generator's answers to many limits, with and without noise, each repaired."""
        rng = np.random.default_rng(seed)
        macs = BrickMacs.of(self.spec)
        task_vector = torch.from_numpy(task.vector(self.spec.labels)).expand(len(LIMITS), -1)
        logits_NBM = self.generator(task_vector, torch.tensor(LIMITS, dtype=torch.float32)).numpy()
        found = {self.spec.smallest.counts}
        for z_BM, limit in zip(logits_NBM, LIMITS, strict=True):
            for sample in range(SAMPLES):
                noise = rng.logistic(0, 0.8, (len(z_BM), 1)) if sample else 0.0
                found.add(
                    self._repaired(z_BM + noise, open_within(z_BM + noise, self.spec, macs, limit), budget, tables)
                )
        counts_PB = np.array(sorted(found))
        return counts_PB[tables.within(counts_PB, budget)]

    def _repaired(self, z_BM: Values, counts: tuple[int, ...], budget: Budget, tables: CostTables) -> tuple[int, ...]:
        """Closes the bricks of lowest logit until all limits are kept, or nothing more may close."""
        kept = list(counts)
        while budget.broken_by(tables.cost(kept)):
            closable = [block for block, spec in enumerate(self.spec.blocks) if kept[block] > spec.fewest_bricks]
            if not closable:
                break
            kept[min(closable, key=lambda block: z_BM[block, kept[block] - 1])] -= 1
        return tuple(kept)

    def refine(
        self, start: Counts, allowed: Callable[[Counts], NDArray[np.bool_]], score: Callable[[Counts], Values]
    ) -> NDArray[np.int64]:
        """Beam search by moves of bricks between blocks, from the best starts, until no move improves the score."""
        beam = start[np.argsort(-score(start), kind="stable")[:BEAM]]
        best = -np.inf
        for _ in range(MAX_ROUNDS):
            candidates = np.unique(np.concatenate([beam, *(self._neighbours(counts) for counts in beam)]), axis=0)
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

    def _neighbours(self, counts: NDArray[np.int64]) -> Counts:
        """One brick more or less, and up to two bricks less in one block for up to two more in another."""
        blocks = len(counts)
        unit = np.eye(blocks, dtype=np.int64)
        single = np.concatenate([unit, -unit])
        pairs = (unit[:, None] - unit[None, :])[~np.eye(blocks, dtype=bool)]
        wider = [a[:, None] - b[None, :] for a, b in ((unit, 2 * unit), (2 * unit, unit))]
        uneven = np.concatenate([moves[~np.eye(blocks, dtype=bool)] for moves in wider])
        moved = counts + np.concatenate([single, pairs, uneven])
        low = np.array([block.fewest_bricks for block in self.spec.blocks])
        high = np.array([block.bricks for block in self.spec.blocks])
        legal: Counts = moved[((moved >= low) & (moved <= high)).all(1)]
        return legal

    def _cheapest(
        self,
        best: NDArray[np.int64],
        proposals: Counts,
        budget: Budget,
        tables: CostTables,
        accuracy: Callable[[Counts], Values],
    ) -> NDArray[np.int64]:
        """The fastest genotype whose predicted accuracy keeps the floor."""
        floor = budget.min_accuracy
        assert floor is not None  # noqa: S101

        def allowed(counts: Counts) -> NDArray[np.bool_]:
            return tables.within(counts, budget) & (accuracy(counts) >= floor)

        def speed(counts: Counts) -> Values:
            return -tables.of_counts(counts)["latency_ms"]

        starts = np.concatenate([best[None], proposals[accuracy(proposals) >= floor]])
        # A floor met by the most accurate network of a tighter limit is met more cheaply than by shrinking a large one.
        latency = tables.cost(best.tolist()).latency_ms
        for share in np.geomspace(0.02, 1.0, 12):
            least = tables.cost(self.spec.smallest.counts).latency_ms
            tighter = replace(budget, latency_ms=least + share * (latency - least), min_accuracy=None)
            inside = proposals[tables.within(proposals, tighter)]
            if len(inside):
                found = self.refine(inside, partial(tables.within, budget=tighter), accuracy)
                if accuracy(found[None])[0] >= floor:
                    starts = np.concatenate([starts, found[None]])
                    break
        return self.refine(starts, allowed, speed)

    def _floor_missed(
        self, task: Task, budget: Budget, tables: CostTables, best: Assembly, seed: int
    ) -> InfeasibleError:
        """Names the most accurate network inside the limits, and the fastest beyond them that keeps the floor."""
        floor = budget.min_accuracy
        inside = (
            f"no network inside the limits is predicted to reach {floor:.2%}: "
            f"the best, {best.accuracy:.2%}, has {_costs(best.cost)}"
        )
        hint = f"lower --min-accuracy to {math.floor(best.accuracy * 1e4) / 1e4:.4f}"
        if budget == Budget(min_accuracy=floor):
            return InfeasibleError(inside, hint=hint)
        try:
            beyond = self.search(task, Budget(min_accuracy=floor), tables, seed=seed)
        except InfeasibleError:
            return InfeasibleError(f"{inside}; without limits none does either", hint=hint)
        return InfeasibleError(
            f"{inside}; the fastest that reaches it has {_costs(beyond.cost)}", hint=f"{hint}, or raise the limits"
        )

    def _nothing_fits(self, budget: Budget, tables: CostTables, accuracy: Callable[[Counts], Values]) -> str:
        smallest = self.spec.smallest.counts
        cost = tables.cost(smallest)
        broken = ", ".join(
            f"{name} {getattr(budget, name):.6g} (the smallest network needs {_upwards(getattr(cost, name))})"
            for name in budget.broken_by(cost)
        )
        reached = float(accuracy(np.array([smallest]))[0])
        return f"no network fits: {broken}; the nearest feasible point has {_costs(cost)}, predicted accuracy {reached:.2%}"


def _upwards(value: float) -> str:
    """Six digits, rounded so that the figure is feasible as a limit."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 5)
    return f"{math.ceil(value / unit) * unit:.6g}"


def _costs(cost: Cost) -> str:
    return (
        f"latency_ms {cost.latency_ms:.4g}, size_bytes {cost.size_bytes:.0f}, "
        f"peak_ram_bytes {cost.peak_ram_bytes:.0f}, macs {cost.macs:.0f}"
    )

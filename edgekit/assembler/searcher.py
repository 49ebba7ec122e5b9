"""The best genotype inside all limits: at once from the archive; refined from there and from the generator's proposals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.assembler.assembly import Assembly
from edgekit.assembler.costs import CostTables
from edgekit.assembler.elites import Elites
from edgekit.assembler.generator import Generator
from edgekit.assembler.infeasible import floor_missed, nothing_fits
from edgekit.assembler.judge import Judge
from edgekit.assembler.predictor import AccuracyPredictor
from edgekit.assembler.refinement import Allowed, Score, refine, refined_by_size
from edgekit.assembler.uncertainty import Uncertainty
from edgekit.core.budget import Budget, Share
from edgekit.core.errors import InfeasibleError
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task

__all__ = ["Assembly", "Searcher"]

LIMITS = tuple(np.geomspace(0.04, 1.0, 8))
SAMPLES = 6
HALVINGS = 6

Genes = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Searcher:
    """Searches genotypes of sorted bricks: a block opens a prefix, so that genes describe a genotype.

    Shapes: P genotypes, G genes. Budgets are resolved, unless said otherwise.
    """

    spec: SupernetSpec
    generator: Generator
    predictor: AccuracyPredictor
    uncertainty: Uncertainty
    elites: Elites

    def search(self, task: Task, budget: Budget, tables: CostTables, *, seed: int) -> Assembly:
        """The genotype of best predicted accuracy inside the budget; with `min_accuracy` the fastest that keeps the floor.

        A floor that is a share is one of what the full supernet is predicted to reach on this task. Shares of limits are
        resolved. Deterministic by seed. Raises InfeasibleError, with the nearest feasible points, where no genotype fits.
        """
        budget = budget.resolve(tables.full)
        judge = self.judge_of(task)
        self.check_room(judge, budget, tables)
        starts = np.concatenate([self.recall(judge, budget, tables), self.propose(task, budget, tables, seed)])
        within = partial(tables.within, budget=budget)
        floor = budget.min_accuracy
        if floor is None:
            return self.assembly(self.refine(starts, within, judge.accuracy), judge, tables)
        kept = starts[judge.reach(starts, floor)]
        if not len(kept):
            best = self.refine(starts, within, judge.sure_share if isinstance(floor, Share) else judge.accuracy)
            if not judge.reach(best[None], floor)[0]:
                raise self._floor_missed(task, budget, self.assembly(best, judge, tables), tables, seed=seed)
            kept = best[None]
        propose = partial(self.propose, task, tables=tables, seed=seed)
        return self.assembly(self._fastest(starts, kept, budget, propose, judge, tables), judge, tables)

    def at_once(self, task: Task, budget: Budget, tables: CostTables) -> Assembly | None:
        """The best that the archive holds for the task inside the budget, without a search; None where a floor is above all of it.

        Raises InfeasibleError where no genotype fits the limits. Shares of limits are resolved.
        """
        budget = budget.resolve(tables.full)
        judge = self.judge_of(task)
        self.check_room(judge, budget, tables)
        found = self.recall(judge, budget, tables)
        if budget.min_accuracy is None:
            best = found[np.argmax(judge.accuracy(found))]
        else:
            found = found[judge.reach(found, budget.min_accuracy)]
            if not len(found):
                return None
            best = found[np.argmin(tables.of_genes(found)["latency_ms"])]
        return self.assembly(best, judge, tables)

    def assess(self, genotype: Genotype, task: Task, tables: CostTables) -> Assembly:
        """What a genotype of sorted bricks is predicted to reach and to cost."""
        return self.assembly(np.array(self.spec.genes(genotype)), self.judge_of(task), tables)

    def judge_of(self, task: Task) -> Judge:
        return Judge(self.spec, self.predictor, self.uncertainty, task)

    def accuracy_of(self, task: Task) -> Callable[[Genes], Values]:
        return self.judge_of(task).accuracy

    def assembly(self, genes: NDArray[np.int64], judge: Judge, tables: CostTables) -> Assembly:
        return Assembly(
            genotype=self.spec.genotype(genes.tolist()),
            accuracy=float(judge.accuracy(genes[None])[0]),
            interval=judge.interval(genes),
            sure_share=float(judge.sure_share(genes[None])[0]),
            cost=tables.cost(genes.tolist()),
        )

    def check_room(self, judge: Judge, budget: Budget, tables: CostTables) -> None:
        """Raises InfeasibleError where not even the smallest network keeps the limits."""
        smallest = np.array(self.spec.least_genes)
        if not tables.within(smallest[None], budget)[0]:
            raise nothing_fits(budget, self.assembly(smallest, judge, tables))

    def recall(self, judge: Judge, budget: Budget, tables: CostTables) -> Genes:
        """The elites of the task's family, and the smallest network of each image size, inside the budget."""
        sizes = np.arange(len(self.spec.image_sizes))[:, None]
        smallest = np.concatenate([sizes, np.tile(self.spec.least_genes[1:], (len(sizes), 1))], axis=1)
        found = np.unique(np.concatenate([smallest, self.elites.of_task(judge)]), axis=0)
        return found[tables.within(found, budget)]

    def propose(self, task: Task, budget: Budget, tables: CostTables, seed: int) -> Genes:
        """Genotypes inside the budget, each the largest of one of the generator's chains."""
        genes_QCG = self.chains(task, seed)
        kept_QC = tables.within(genes_QCG.reshape(-1, genes_QCG.shape[2]), budget).reshape(genes_QCG.shape[:2])
        largest_Q = kept_QC.sum(1) - 1
        proposed: Genes = np.unique(genes_QCG[np.arange(len(largest_Q)), largest_Q][largest_Q >= 0], axis=0)
        return proposed

    @torch.no_grad()
    def chains(self, task: Task, seed: int) -> Genes:
        """`genes_QCG`: Q chains of networks from the smallest to the full one of an image size.

        The generator's answer to a limit ranks all bricks, with and without noise; opened one by one they make a chain.
        """
        rng = np.random.default_rng(seed)
        limits = torch.tensor(LIMITS, dtype=torch.float32).repeat(len(self.spec.image_sizes))
        sizes = torch.arange(len(self.spec.image_sizes)).repeat_interleave(len(LIMITS))
        task_vector = torch.from_numpy(task.vector(self.spec.labels)).expand(len(limits), -1)
        logits_NBM = self.generator(task_vector, limits, sizes).numpy()
        noise_SNB1 = rng.logistic(0, 0.8, (SAMPLES, *logits_NBM.shape[:2], 1))
        noise_SNB1[0] = 0
        counts_QCB = _opened(self.spec, (logits_NBM + noise_SNB1).reshape(-1, *logits_NBM.shape[1:]))
        sizes_QC1 = np.broadcast_to(np.tile(sizes.numpy(), SAMPLES)[:, None, None], (*counts_QCB.shape[:2], 1))
        return np.concatenate([sizes_QC1, counts_QCB], axis=2)

    def refine(self, start: Genes, allowed: Allowed, score: Score) -> NDArray[np.int64]:
        """The best by local moves, where each image size starts from its best."""
        return refine(self.spec, start, allowed, score)

    def _fastest(
        self,
        starts: Genes,
        kept: Genes,
        budget: Budget,
        propose: Callable[[Budget], Genes],
        judge: Judge,
        tables: CostTables,
    ) -> NDArray[np.int64]:
        """The fastest network that keeps the floor, from some that do.

        Halving the time between what keeps it and what does not: the most accurate network of a tighter limit meets a floor
        more cheaply than a larger one that is shrunk.
        """
        floor = budget.min_accuracy
        assert floor is not None  # noqa: S101 - else nothing keeps it
        merit = judge.sure_share if isinstance(floor, Share) else judge.accuracy

        def latency(genes: Genes) -> Values:
            return tables.of_genes(genes)["latency_ms"]

        low, high = latency(np.array(self.spec.least_genes)[None])[0], latency(kept).min()
        for _ in range(HALVINGS):
            middle = float(np.sqrt(low * high))
            tighter = replace(budget, latency_ms=middle)
            inside = partial(tables.within, budget=tighter)
            ends = [
                *refined_by_size(self.spec, np.concatenate([starts[inside(starts)], propose(tighter)]), inside, merit)
            ]
            starts = np.concatenate([starts, ends])
            reaching = judge.reach(np.stack(ends), floor)
            if reaching.any():
                kept = np.concatenate([kept, np.stack(ends)[reaching]])
                high = latency(kept).min()
            else:
                low = middle
        return self.refine(
            kept, lambda genes: tables.within(genes, budget) & judge.reach(genes, floor), lambda genes: -latency(genes)
        )

    def _floor_missed(
        self, task: Task, budget: Budget, best: Assembly, tables: CostTables, *, seed: int
    ) -> InfeasibleError:
        floor_alone = Budget(min_accuracy=budget.min_accuracy)
        beyond = None
        if budget != floor_alone:
            try:
                beyond = self.search(task, floor_alone, tables, seed=seed)
            except InfeasibleError:
                beyond = None
        return floor_missed(budget, best, beyond)


def _opened(spec: SupernetSpec, z_QBM: Values) -> NDArray[np.int64]:
    """`counts_QCB`: how many bricks are open as they open by falling logit, one more in each network of a chain."""
    bricks = np.arange(z_QBM.shape[2])
    fewest_B1 = np.array([[block.fewest_bricks] for block in spec.blocks])
    most_B1 = np.array([[block.bricks] for block in spec.blocks])
    z_QBM = np.where(bricks < fewest_B1, np.inf, np.where(bricks < most_B1, z_QBM, -np.inf))
    order_QC = np.argsort(-z_QBM.reshape(len(z_QBM), -1), axis=1, kind="stable")[:, : most_B1.sum()]
    opened_QCB = order_QC[:, :, None] // z_QBM.shape[2] == np.arange(len(spec.blocks))
    none_Q1B = np.zeros((len(z_QBM), 1, len(spec.blocks)), np.int64)
    counts_QCB: NDArray[np.int64] = np.concatenate([none_Q1B, opened_QCB.cumsum(1)], axis=1)[:, fewest_B1.sum() :]
    return counts_QCB

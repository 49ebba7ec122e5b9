"""The assembler beside the methods that train nothing, on the same tasks and budget: all slice the same supernet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from baselines.evolutionary import Evolution
from baselines.method import Method, Problem
from baselines.one_genotype import evolved_once, searched_once
from baselines.random_bricks import RandomBricks, RandomPrefixes
from baselines.sorted_prefixes import SortedPrefixes, SortedPrefixesOfBestSize
from baselines.uniform_width import UniformWidth
from harness import standard_error
from judge import Judge

from edgekit.assembler.searcher import Searcher
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task

ASSEMBLER, FULL = "assembler", "full supernet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    searcher: Searcher
    name: str = ASSEMBLER

    def choose(self, problem: Problem) -> Genotype:
        return self.searcher.search(problem.task, problem.budget, problem.tables, seed=problem.seed).genotype


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Accuracy on each task, by method; of the full supernet too. `chosen` is what the assembler answered."""

    title: str
    limit: float
    accuracy: dict[str, list[float]]
    chosen: list[Genotype]
    spread: dict[str, float]

    @property
    def name(self) -> str:
        return f"{self.title}, {self.limit:.1%}"

    @property
    def baselines(self) -> list[str]:
        return [method for method in self.accuracy if method not in (ASSEMBLER, FULL)]

    def lead(self, method: str) -> tuple[float, float]:
        """Of the assembler, with its standard error over tasks."""
        return mean_and_error(np.subtract(self.accuracy[ASSEMBLER], self.accuracy[method]).tolist())

    def least_lead(self) -> tuple[str, float, float]:
        """Over the baseline that comes nearest, or is ahead."""
        method = min(self.baselines, key=lambda one: self.lead(one)[0])
        return method, *self.lead(method)

    def rows(self) -> list[tuple[str, ...]]:
        def lead(method: str) -> str:
            return "" if method == ASSEMBLER else "{:+.2%} +- {:.2%}".format(*self.lead(method))

        limit = f"{self.limit:.1%}"
        spread = (
            f"  {self.spread['different']} genotypes for {self.spread['tasks']} tasks, "
            f"{self.spread['bits_per_gene']:.2f} bits of a gene known from the task"
        )
        measured = [
            (limit, method, percent(values), lead(method), f"{min(values):.1%}")
            for method, values in self.accuracy.items()
        ]
        return [*measured, (limit, spread, "", "", "")]

    def figures(self) -> dict[str, Any]:
        means = {
            method: dict(zip(("mean", "se"), mean_and_error(values), strict=True))
            for method, values in self.accuracy.items()
        }
        leads = {method: dict(zip(("mean", "se"), self.lead(method), strict=True)) for method in self.baselines}
        return {**means, "lead": leads, "spread": self.spread}


def methods_without_training(
    judge: Judge, limit: float, others: Sequence[Task], *, seed: int, evolution: bool
) -> list[Method]:
    """For one limit. `others` are the tasks whose mean the one genotype is searched for; `evolution` takes most of the time."""
    spec, searcher = judge.spec, judge.assembler.searcher
    whole = judge.problem(judge.everything, limit, seed)
    evolved: list[Method] = [Evolution(searcher=searcher), evolved_once(searcher, whole)] if evolution else []
    return [
        *evolved,
        searched_once(searcher, whole, others),
        SortedPrefixesOfBestSize(spec=spec, score=searcher.accuracy_of(judge.everything)),
        SortedPrefixes(spec=spec),
        UniformWidth(spec=spec),
        RandomPrefixes(spec=spec),
        RandomBricks(spec=spec),
    ]


def compare(judge: Judge, title: str, tasks: Sequence[Task], limit: float, methods: Sequence[Method]) -> Comparison:
    """On the judge's images of each task. Raises AssertionError where a method breaks the limit."""
    chosen: dict[str, list[Genotype]] = {
        method.name: [] for method in (Assembled(searcher=judge.assembler.searcher), *methods)
    }
    for number, task in enumerate(tasks):
        problem = judge.problem(task, limit, number)
        for method in (Assembled(searcher=judge.assembler.searcher), *methods):
            genotype = method.choose(problem)
            genes = np.array([judge.spec.genes(genotype)])
            assert problem.tables.within(genes, problem.budget)[0], f"{method.name}: {genotype} breaks the limit"
            chosen[method.name].append(genotype)
    chosen[FULL] = [judge.spec.full] * len(tasks)
    right = judge.right(
        (genotype, task) for answers in chosen.values() for genotype, task in zip(answers, tasks, strict=True)
    )
    accuracy = {
        method: [float(right[pair].mean()) for pair in zip(answers, tasks, strict=True)]
        for method, answers in chosen.items()
    }
    return Comparison(
        title=title,
        limit=limit,
        accuracy=accuracy,
        chosen=chosen[ASSEMBLER],
        spread=spread(judge.spec, chosen[ASSEMBLER]),
    )


def unseen_behind_seen(judge: Judge, pairs: Sequence[tuple[Task, Task]], limit: float) -> dict[str, Any]:
    """How much more the assembled networks lose to the full supernet on compositions that training kept out.

    Tasks differ in difficulty, so each is compared with the full supernet on the same task; the two groups are independent.
    """
    losses = []
    for group in zip(*pairs, strict=True):
        accuracy = compare(judge, "compositions", group, limit, []).accuracy
        losses.append(np.subtract(accuracy[FULL], accuracy[ASSEMBLER]).tolist())
    (kept_out, error_kept_out), (seen, error_seen) = map(mean_and_error, losses)
    return {
        "limit": limit,
        "pairs": len(pairs),
        "lost_kept_out": kept_out,
        "lost_seen": seen,
        "behind": kept_out - seen,
        "se": math.hypot(error_kept_out, error_seen),
    }


def spread(spec: SupernetSpec, genotypes: Sequence[Genotype]) -> dict[str, float]:
    """How much the task says about the genotype: an assembler that has collapsed answers one genotype, 0 bits."""
    per_gene = zip(*(spec.genes(genotype) for genotype in genotypes), strict=True)
    bits = [_entropy(Counter(values)) for values in per_gene]
    return {"tasks": len(genotypes), "different": len(set(genotypes)), "bits_per_gene": float(np.mean(bits))}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), standard_error(values)


def percent(values: Sequence[float]) -> str:
    """The mean, and its error where there is one."""
    mean, error = mean_and_error(values)
    return f"{mean:.2%}" if math.isnan(error) else f"{mean:.2%} +- {error:.2%}"


def _entropy(counter: Counter[int]) -> float:
    total = counter.total()
    return sum(-n / total * math.log2(n / total) for n in counter.values())

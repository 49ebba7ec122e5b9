"""The cheapest network that keeps a floor of accuracy, chosen per task, against one size for all tasks.

    python benchmarks/floors.py [--model signs43|things200] [--tasks N] [--quick] [-o RESULT.json]

The floor is 95 % of what the full supernet reaches on the task. Per task the assembler chooses the fastest network on a
Raspberry Pi 4 that it predicts to keep the floor; no image is looked at. One size for all comes from the assembler's search
for the best mean over 64 other tasks at rising MACs: the smallest that keeps the floor on average over the judged tasks,
by their own images, and the smallest that keeps it on nine of ten. Knowing the images favours the one size.

A floor is checked on the images of the task's labels: kept is where the network gets at least 95 % as many of them right as
the full supernet does. With 125 images, two or three more or less decide; so the table also says on how many tasks the floor
is kept within one standard error of that measurement, image by image.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from baselines.one_genotype import searched_once
from comparison import mean_and_error, percent
from harness import Table, bars, open_model, options_of, publish, standard_error
from judge import Judge, Right
from judged_tasks import ancestor_tasks, composed_pairs, random_tasks

from edgekit.core.budget import Budget, Cost, Share
from edgekit.supernet.genotype import Genotype
from edgekit.tasks.task import Task

FLOOR = 0.95
SIZES = (5, 10, 20)
OTHER_TASKS = 64
SIZES_FOR_ALL = 20
BAR_SAVED, BAR_KEPT = 0.4, 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A network on one task: its share of the full supernet's right answers, and whether that keeps the floor."""

    task: Task
    genotype: Genotype
    cost: Cost
    ratio: float
    kept: bool
    kept_within_error: bool


class Floors:
    def __init__(self, judge: Judge, tasks: Sequence[Task]) -> None:
        self.judge, self.tasks = judge, tasks
        self.tables = {task: judge.assembler.tables(task, judge.cost_of) for task in tasks}
        self.full = judge.right((judge.spec.full, task) for task in tasks)

    def chosen(self) -> list[Genotype]:
        """For each task, as a build with this floor answers."""
        searcher, budget = self.judge.assembler.searcher, Budget(min_accuracy=Share(fraction=FLOOR))
        return [
            searcher.search(task, budget, self.tables[task], seed=number).genotype
            for number, task in enumerate(self.tasks)
        ]

    def for_all(self, others: Sequence[Task], number: int, *, seed: int) -> list[Genotype]:
        """So many networks of rising MACs, from the smallest to the full one."""
        judge = self.judge
        tables = judge.assembler.tables(judge.everything, judge.cost_of)
        least = tables.cost(judge.spec.least_genes).macs / tables.full.macs
        # A hair above the smallest network, which a rounded share of the MACs might miss.
        limits = np.geomspace(min(1.0, least * 1.001), 1.0, number)
        problems = [judge.problem(judge.everything, float(limit), seed) for limit in limits]
        found = [searched_once(judge.assembler.searcher, problem, others).genotype for problem in problems]
        return list(dict.fromkeys(found))

    def check(self, genotypes: Sequence[Genotype]) -> list[Checked]:
        """One genotype for each task."""
        right = self.judge.right(zip(genotypes, self.tasks, strict=True))
        return [
            self._checked(task, genotype, right[genotype, task])
            for genotype, task in zip(genotypes, self.tasks, strict=True)
        ]

    def _checked(self, task: Task, genotype: Genotype, right: Right) -> Checked:
        full = self.full[self.judge.spec.full, task]
        surplus = right - FLOOR * full
        return Checked(
            task=task,
            genotype=genotype,
            cost=self.tables[task].cost(self.judge.spec.genes(genotype)),
            ratio=float(right.mean() / full.mean()),
            kept=bool(surplus.mean() >= 0),
            kept_within_error=bool(surplus.mean() + standard_error(surplus.tolist()) >= 0),
        )


def smallest(candidates: Sequence[list[Checked]], enough: Callable[[list[Checked]], bool]) -> list[Checked]:
    """Of the one-size candidates in rising order; the full supernet is the last and always enough."""
    return next(one for one in candidates if enough(one))


def saved(chosen: Sequence[Checked], for_all: Sequence[Checked], cost: str) -> tuple[float, float]:
    """Share of the mean cost, with the standard error of the chosen ones' mean."""
    mine, theirs = ([float(getattr(one.cost, cost)) for one in group] for group in (chosen, for_all))
    return 1 - float(np.mean(mine) / np.mean(theirs)), standard_error(mine) / float(np.mean(theirs))


def row(name: str, checked: Sequence[Checked]) -> tuple[str, ...]:
    return (
        name,
        f"{np.mean([one.cost.macs for one in checked]) / 1e6:.2f}",
        f"{np.mean([one.cost.latency_ms for one in checked]):.3f}",
        percent([one.ratio for one in checked]),
        f"{share_kept(checked):.0%}",
        f"{np.mean([one.kept_within_error for one in checked]):.0%}",
        str(len({one.genotype for one in checked})),
    )


def share_kept(checked: Sequence[Checked]) -> float:
    return float(np.mean([one.kept for one in checked]))


def figures_of(checked: Sequence[Checked]) -> dict[str, Any]:
    ratio, error = mean_and_error([one.ratio for one in checked])
    return {
        "mean_macs": float(np.mean([one.cost.macs for one in checked])),
        "mean_latency_ms": float(np.mean([one.cost.latency_ms for one in checked])),
        "mean_ratio": ratio,
        "se_ratio": error,
        "kept": share_kept(checked),
        "kept_within_error": float(np.mean([one.kept_within_error for one in checked])),
        "tasks": [
            {"task": one.task.text, "labels": len(one.task.indices), "genotype": str(one.genotype), "ratio": one.ratio}
            for one in checked
        ],
    }


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--tasks", type=int, default=48, help="random ones of 5, 10 and 20 labels")
    parser.add_argument("--named", type=int, default=20, help="ancestor tasks, or compositions where there are none")
    parser.add_argument("--quick", action="store_true", help="a few tasks and sizes; writes no record")
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    judge = Judge(folder, options.data)
    few = 3 if options.quick else sys.maxsize
    rng = np.random.default_rng(options.seed)
    tasks = random_tasks(folder, SIZES, min(options.tasks, few), rng)
    others = random_tasks(folder, SIZES, min(OTHER_TASKS, few), rng)
    named = min(options.named, few)
    pairs = composed_pairs(folder, -(-named // 2), rng) if not ancestor_tasks(folder.vocabulary, 1) else []
    tasks += [*ancestor_tasks(folder.vocabulary, named), *chain.from_iterable(pairs)]

    floors = Floors(judge, tasks)
    chosen = floors.check(floors.chosen())
    sizes = floors.for_all(others, min(SIZES_FOR_ALL, few), seed=options.seed)
    for_all = [floors.check([genotype] * len(tasks)) for genotype in (*sizes, judge.spec.full)]
    groups: Mapping[str, list[Checked]] = {
        "chosen per task": chosen,
        "one size, floor kept on average": smallest(
            for_all, lambda checked: bool(np.mean([one.ratio for one in checked]) >= FLOOR)
        ),
        f"one size, floor kept on {BAR_KEPT:.0%} of tasks": smallest(
            for_all, lambda checked: share_kept(checked) >= BAR_KEPT
        ),
        "full supernet": for_all[-1],
    }
    on_average, on_most = list(groups.values())[1:3]
    columns = ("", "MMACs", "ms on rpi4", "of full accuracy", "floor kept", "within error", "genotypes")
    title = (
        f"{folder.name}, {len(tasks)} tasks, floor {FLOOR:.0%} of the full supernet's accuracy, {judge.split} images"
    )
    savings = {
        f"{cost} against one size, {kept}": saved(chosen, group, cost)
        for cost in ("macs", "latency_ms")
        for kept, group in (("on average", on_average), (f"on {BAR_KEPT:.0%}", on_most))
    }
    share, error = savings["macs against one size, on average"]
    tables = [
        Table(title, columns, [row(name, checked) for name, checked in groups.items()]),
        Table(
            "Saved by choosing per task",
            ("", "mean"),
            [(name, "{:.1%} +- {:.1%}".format(*both)) for name, both in savings.items()],
        ),
        bars(
            (
                "mean MACs less than one size for all",
                f"{share:.1%} +- {error:.1%}",
                f"at least {BAR_SAVED:.0%}",
                share >= BAR_SAVED,
            ),
            (
                "tasks whose floor is kept",
                f"{share_kept(chosen):.1%}",
                f"at least {BAR_KEPT:.0%}",
                share_kept(chosen) >= BAR_KEPT,
            ),
        ),
    ]
    figures = {
        "floor": FLOOR,
        "groups": {name: figures_of(checked) for name, checked in groups.items()},
        "saved": {name: {"mean": mean, "se": se} for name, (mean, se) in savings.items()},
    }
    publish(f"floors_{folder.name}", tables, figures, options.output, model=folder, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())

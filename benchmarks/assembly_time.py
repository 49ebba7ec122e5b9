"""From a task and a budget to the archive's answer and to a sliced subnet, the process warm, beside an evolutionary search.

    python benchmarks/assembly_time.py [--tasks N] [--evolution-tasks N] [--model MODEL] [-o RESULT.json]

A third of the tasks tells 5 labels apart, a third all labels, a third asks for presence of 5 labels. Both times hold the
pricing of the cost tables; the archive's its answer, the other the search and the slicing. The evolutionary search
(evolution.py) has the same cost tables and the same accuracy predictor, which here remembers what it has judged, and its
clock runs for the search alone; "matched" is when it first reached the assembler's predicted accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median

import numpy as np
from evolution import GENERATIONS, POPULATION, evolve
from harness import Table, bars, load_assembler, open_model, options_of, publish
from random_inputs import all_labels, presence

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.costs import CostOf
from edgekit.core.budget import Budget, Share
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.sampling import random_task
from edgekit.tasks.task import Task
from edgekit.tasks.vocabulary import Vocabulary

LIMITS = (0.125, 0.25)
BAR_S, ARCHIVE_BAR_S = 0.5, 0.05
# Predicted accuracies of the same genotype may differ in the last place between two batches.
SAME = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Evolved:
    """`matched_s` is None where the search never reached the assembler's predicted accuracy."""

    seconds: float
    matched_s: float | None
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    kind: str
    limit: float
    archive_s: float
    archive_accuracy: float
    seconds: float
    search_s: float
    accuracy: float
    evolved: Evolved | None


def drawn_tasks(rng: np.random.Generator, vocabulary: Vocabulary, number: int) -> list[tuple[str, Task]]:
    tasks = []
    for index in range(number):
        some = random_task(rng, vocabulary, 5)
        tasks.append(
            [
                ("5 labels", some),
                (f"{len(vocabulary)} labels", all_labels(vocabulary)),
                ("5 labels, presence", presence(some.indices, some.text)),
            ][index % 3]
        )
    return tasks


def measured(
    assembler: Assembler, cost_of: CostOf, kind: str, task: Task, limit: float, *, seed: int, with_evolution: bool
) -> Run:
    started = time.perf_counter()
    tables = assembler.tables(task, cost_of)
    budget = Budget(macs=Share(fraction=limit)).resolve(tables.full)
    priced = time.perf_counter()
    recalled = assembler.searcher.at_once(task, budget, tables)
    archive_s = time.perf_counter() - started
    assert recalled is not None, "there is no floor"
    searching = time.perf_counter()
    assembly = assembler.searcher.search(task, budget, tables, seed=seed)
    found = time.perf_counter()
    slice_subnet(assembler.supernet, assembly.genotype, task)
    seconds = priced - started + time.perf_counter() - searching
    evolved = None
    if with_evolution:
        history = evolve(
            assembler.searcher.spec,
            lambda genes: tables.within(genes, budget),
            assembler.searcher.accuracy_of(task),
            seed=seed,
        )
        matched = (one.seconds for one in history if one.score >= assembly.accuracy - SAME)
        evolved = Evolved(seconds=history[-1].seconds, matched_s=next(matched, None), accuracy=history[-1].score)
    return Run(
        kind=kind,
        limit=limit,
        archive_s=archive_s,
        archive_accuracy=recalled.accuracy,
        seconds=seconds,
        search_s=found - searching,
        accuracy=assembly.accuracy,
        evolved=evolved,
    )


def row(name: str, runs: Sequence[Run]) -> tuple[object, ...]:
    times = [run.seconds for run in runs]
    cells = (
        name,
        len(runs),
        f"{median(run.archive_s for run in runs):.3f}",
        f"{median(times):.2f}",
        f"{max(times):.2f}",
        f"{fmean(run.archive_accuracy for run in runs):.4f}",
        f"{fmean(run.accuracy for run in runs):.4f}",
    )
    compared = [(run, run.evolved) for run in runs if run.evolved]
    if not compared:
        return *cells, *"-----"
    matched = [evolved.matched_s for _, evolved in compared if evolved.matched_s is not None]
    return (
        *cells,
        f"{median(evolved.seconds for _, evolved in compared):.2f}",
        f"{median(matched):.2f}" if matched else "-",
        f"{len(matched)}/{len(compared)}",
        f"{fmean(run.accuracy for run, _ in compared):.4f}",
        f"{fmean(evolved.accuracy for _, evolved in compared):.4f}",
    )


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--tasks", type=int, default=48)
    parser.add_argument("--evolution-tasks", type=int, default=12, help="the first tasks, also searched by evolution")
    options = parser.parse_args()
    model = open_model(options)
    assembler, cost_of = load_assembler(model)
    tasks = drawn_tasks(np.random.default_rng(options.seed), model.vocabulary, options.tasks)
    measured(assembler, cost_of, *tasks[0], LIMITS[0], seed=options.seed, with_evolution=False)
    runs = [
        measured(
            assembler, cost_of, kind, task, limit, seed=options.seed, with_evolution=index < options.evolution_tasks
        )
        for limit in LIMITS
        for index, (kind, task) in enumerate(tasks)
    ]

    groups = dict.fromkeys((run.kind, run.limit) for run in runs)
    rows = [
        row(f"{kind}, {limit:.1%} MACs", [run for run in runs if (run.kind, run.limit) == (kind, limit)])
        for kind, limit in groups
    ]
    title = (
        "From task and budget to sliced subnet, seconds, process warm; evolutionary search: "
        f"population {POPULATION}, {GENERATIONS} generations, same predictors"
    )
    columns = (
        "",
        "tasks",
        "archive",
        "median",
        "max",
        "predicted, archive",
        "predicted",
        "evolution",
        "matched",
        "matches",
        "predicted, same tasks",
        "of evolution",
    )
    medians = {kind: median(run.seconds for run in runs if run.kind == kind) for kind, _ in groups}
    archive_medians = {kind: median(run.archive_s for run in runs if run.kind == kind) for kind, _ in groups}
    kept = bars(
        *(
            (f"{what}, median, slowest kind of task", f"{slowest:.3f} s", f"at most {bar:g} s", slowest <= bar)
            for what, slowest, bar in (
                ("archive", max(archive_medians.values()), ARCHIVE_BAR_S),
                ("search and slice", max(medians.values()), BAR_S),
            )
        )
    )
    figures = {
        "bar_s": BAR_S,
        "archive_bar_s": ARCHIVE_BAR_S,
        "met": max(medians.values()) <= BAR_S and max(archive_medians.values()) <= ARCHIVE_BAR_S,
        "median_s": median(run.seconds for run in runs),
        "median_by_kind_s": medians,
        "archive_median_by_kind_s": archive_medians,
        "runs": [asdict(run) for run in runs],
    }
    publish(
        "assembly_time", [Table(title, columns, [*rows, row("all", runs)]), kept], figures, options.output, model=model
    )


if __name__ == "__main__":
    main()

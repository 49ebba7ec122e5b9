"""Assembled networks of `things200` against networks trained for their task alone.

    python benchmarks/things200_finetuning.py [--tasks N] [--seconds S] [--quick] [-o RESULT.json]

At each limit and for each task: the assembled network as it is; fine-tuned on the training images of the task's labels for
`--seconds`; the full supernet pruned by magnitude to the same MACs and fine-tuned for as many steps; and the assembled
shape trained from scratch for as many seconds. All are judged in float32 on the validation images of the task's labels; the
error of a mean is that over tasks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

import numpy as np
from baselines.dense import macs_of
from baselines.fine_tuning import fine_tuned
from baselines.from_scratch import trained_from_scratch
from baselines.magnitude_pruning import pruned
from baselines.training import Images, Trained, for_seconds, for_steps
from comparison import mean_and_error, percent
from harness import Bar, Table, bars, open_model, options_of, publish
from judge import Judge
from judged_tasks import ancestor_tasks, random_tasks

from edgekit.assembler.training.data import read_parquet
from edgekit.assembler.training.recipe import Recipe
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.task import Task

LIMITS = (0.25, 0.1)
SIZES = (5, 10, 20)
ASSEMBLED, TUNED, PRUNED, SCRATCH = "assembled", "fine-tuned", "pruned, fine-tuned", "from scratch"
BAR_BEHIND, BAR_TIMES = 0.015, 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Of one method on one task at one limit."""

    limit: float
    task: str
    labels: int
    method: str
    accuracy: float
    macs: float
    steps: int
    seconds: float


def compared(
    judge: Judge, train: Images, recipe: Recipe, task: Task, limit: float, *, seconds: float, seed: int
) -> list[Result]:
    supernet, spec, outputs = judge.assembler.supernet, judge.spec, len(task.indices)
    genotype, assembly_s = judge.assembled(task, limit, seed=seed)
    image_size, images = spec.image_size_of(genotype), train.for_task(task)
    subnet = slice_subnet(supernet, genotype, task)
    tables = judge.problem(task, limit, seed).tables
    macs = tables.cost(spec.genes(genotype)).macs
    cut = pruned(supernet, outputs=outputs, max_macs=limit * tables.full.macs)
    tuned = fine_tuned(subnet, images, recipe, for_seconds(seconds), image_size=image_size, seed=seed)
    networks = {
        ASSEMBLED: (Trained(subnet=subnet, image_size=image_size, steps=0, seconds=assembly_s), macs),
        TUNED: (tuned, macs),
        PRUNED: (
            fine_tuned(
                slice_subnet(cut, cut.spec.full, task),
                images,
                recipe,
                for_steps(tuned.steps),
                image_size=spec.image_size,
                seed=seed,
            ),
            macs_of(replace(cut.spec, labels=outputs)),
        ),
        SCRATCH: (
            trained_from_scratch(spec, genotype, images, recipe, for_seconds(seconds), outputs=outputs, seed=seed),
            macs,
        ),
    }
    return [
        Result(
            limit=limit,
            task=task.text,
            labels=outputs,
            method=method,
            accuracy=float(judge.right_of(trained.subnet, task, trained.image_size).mean()),
            macs=macs,
            steps=trained.steps,
            seconds=trained.seconds,
        )
        for method, (trained, macs) in networks.items()
    ]


def rows_of(limit: float, results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The mean over tasks of each method."""
    rows: list[tuple[str, ...]] = []
    for method in dict.fromkeys(result.method for result in results):
        mine = [result for result in results if result.method == method]
        accuracies = [result.accuracy for result in mine]
        ahead = "" if method == ASSEMBLED else "{:+.2%} +- {:.2%}".format(*ahead_of_assembled(results, method))
        seconds = fmean(result.seconds for result in mine)
        rows.append(
            (
                f"{limit:.0%}",
                method,
                percent(accuracies),
                ahead,
                f"{fmean(result.macs for result in mine) / 1e6:.2f}",
                f"{fmean(result.steps for result in mine):.0f}",
                f"{seconds:.2f}" if method == ASSEMBLED else f"{seconds:.0f}",
            )
        )
    return rows


def ahead_of_assembled(results: Sequence[Result], method: str) -> tuple[float, float]:
    mine, assembled_ones = ([one.accuracy for one in results if one.method == name] for name in (method, ASSEMBLED))
    return mean_and_error(np.subtract(mine, assembled_ones).tolist())


def bar_of(limit: float, results: Sequence[Result]) -> Bar:
    """A training cut short does not test the bar."""
    behind, error = ahead_of_assembled(results, TUNED)
    tuning_s, assembly_s = (fmean(one.seconds for one in results if one.method == name) for name in (TUNED, ASSEMBLED))
    times = tuning_s / assembly_s
    return (
        f"behind fine-tuning, {limit:.0%} of MACs",
        f"{behind:+.2%} +- {error:.2%} at {times:.0f} times",
        f"at most {BAR_BEHIND:.1%} at {BAR_TIMES} times",
        behind <= BAR_BEHIND and times >= BAR_TIMES,
    )


def main() -> int:
    parser = options_of(__doc__, model="things200")
    parser.add_argument(
        "--tasks", type=int, default=4, help="random tasks of 5, 10 and 20 labels, then an ancestor task"
    )
    parser.add_argument("--seconds", type=float, default=120, help="of each training; 1,000 times the assembly or more")
    parser.add_argument(
        "--quick", action="store_true", help="one task at 25 %%, 5 seconds a training; writes no record"
    )
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    judge = Judge(folder, options.data)
    spec = folder.spec
    train = Images.of(read_parquet(options.data, "train", image_size=spec.image_size, labels=spec.labels))
    recipe = Recipe.load(folder.path / "recipe.toml")
    number = 1 if options.quick else options.tasks
    # An ancestor task after every three random ones.
    ancestors = ancestor_tasks(folder.vocabulary, number // 4)
    randoms = random_tasks(folder, SIZES, number - len(ancestors), np.random.default_rng(options.seed))
    limits = LIMITS[:1] if options.quick else LIMITS
    seconds = 5 if options.quick else options.seconds
    results: list[Result] = []
    for limit in limits:
        for task in (*randoms, *ancestors):
            results += compared(judge, train, recipe, task, limit, seconds=seconds, seed=options.seed)
            print(f"{limit:.0%}, {task.text}: done", file=sys.stderr)

    of_limit = {limit: [one for one in results if one.limit == limit] for limit in limits}
    columns = ("MACs", "network", "mean top-1", "ahead of assembled", "MMACs", "steps", "seconds")
    rows = [row for limit, found in of_limit.items() for row in rows_of(limit, found)]
    tables = [
        Table(f"{number} tasks, {judge.split} images", columns, rows),
        bars(*(bar_of(limit, found) for limit, found in of_limit.items())),
    ]
    figures = {"results": [asdict(one) for one in results]}
    publish("things200_finetuning", tables, figures, options.output, model=folder, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())

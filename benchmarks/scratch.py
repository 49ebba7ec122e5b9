"""The assembled network against the same one trained from scratch for its task alone.

    python benchmarks/scratch.py [--tasks N] [--labels N] [--max-seconds S] [--model MODEL] [--data FOLDER] [-o RESULT.json]

For random tasks of 5 labels the assembler picks a genotype at 12.5 % of the MACs. A dense network of the same shape gets
fresh weights and 1,000 times the seconds that the assembly took: all training images of the task's labels, the
supernet's augmentation, AdamW with a cosine over the whole time. Both are judged in float32 on the test images of the
task's labels; the error of the gap is that of the difference image by image.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np
from baselines.from_scratch import trained_from_scratch
from baselines.training import Images, for_seconds
from harness import Table, bars, open_model, options_of, publish, standard_error
from judge import Judge

from edgekit.assembler.training.data import read_parquet
from edgekit.assembler.training.recipe import Recipe
from edgekit.tasks.sampling import random_task
from edgekit.tasks.task import Task

LIMIT = 0.125
TIMES_LONGER = 1000
BAR_GAP = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    task: str
    genotype: str
    test_images: int
    assembly_s: float
    scratch_s: float
    steps: int
    epochs: float
    assembled_accuracy: float
    scratch_accuracy: float
    gap: float
    gap_error: float


def compared(judge: Judge, task: Task, train: Images, recipe: Recipe, *, max_seconds: float, seed: int) -> Outcome:
    genotype, assembly_s = judge.assembled(task, LIMIT, seed=seed)
    seconds = min(TIMES_LONGER * assembly_s, max_seconds)
    mine = train.for_task(task)
    trained = trained_from_scratch(
        judge.spec, genotype, mine, recipe, for_seconds(seconds), outputs=len(task.indices), seed=seed
    )
    right = judge.right_of_slice(genotype, task)
    scratch_right = judge.right_of(trained.subnet, task, trained.image_size)
    gaps = scratch_right.astype(float) - right
    return Outcome(
        task=task.text,
        genotype=str(genotype),
        test_images=len(right),
        assembly_s=assembly_s,
        scratch_s=seconds,
        steps=trained.steps,
        epochs=trained.steps * recipe.batch / len(mine.y_N),
        assembled_accuracy=float(right.mean()),
        scratch_accuracy=float(scratch_right.mean()),
        gap=float(gaps.mean()),
        gap_error=standard_error(gaps.tolist()),
    )


def row(outcome: Outcome) -> tuple[object, ...]:
    n = outcome.test_images
    shares = (outcome.assembled_accuracy, outcome.scratch_accuracy)
    return (
        outcome.task,
        f"{outcome.assembly_s:.2f}",
        f"{outcome.scratch_s:.0f}",
        f"{outcome.scratch_s / outcome.assembly_s:.0f}",
        f"{outcome.epochs:.0f}",
        *(f"{share:.2%} +- {math.sqrt(share * (1 - share) / n):.2%}" for share in shares),
        f"{outcome.gap:+.2%} +- {outcome.gap_error:.2%}",
    )


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--labels", type=int, default=5, help="labels of a task")
    parser.add_argument("--max-seconds", type=float, default=600, help="of training, for each task")
    options = parser.parse_args()
    model = open_model(options, needs_data=True)
    judge, spec = Judge(model, options.data), model.spec
    train = Images.of(read_parquet(options.data, "train", image_size=spec.image_size, labels=spec.labels))
    recipe = Recipe.load(model.path / "recipe.toml")
    rng = np.random.default_rng(options.seed)
    tasks = [random_task(rng, model.vocabulary, options.labels) for _ in range(options.tasks)]
    outcomes = [
        compared(judge, task, train, recipe, max_seconds=options.max_seconds, seed=options.seed) for task in tasks
    ]

    gap = fmean(outcome.gap for outcome in outcomes)
    error = standard_error([outcome.gap for outcome in outcomes])
    ratio = fmean(outcome.scratch_s / outcome.assembly_s for outcome in outcomes)
    # A training cut short by --max-seconds does not test the bar.
    met = gap <= BAR_GAP and round(ratio) >= TIMES_LONGER
    title = f"Assembled at {LIMIT:.1%} MACs against the same genotype trained from scratch"
    columns = ("task", "assembly s", "scratch s", "times", "epochs", "assembled", "scratch", "scratch ahead by")
    measured = f"{gap:+.2%} +- {error:.2%} at {ratio:.0f} times"
    kept = bars(("scratch ahead by, mean", measured, f"at most {BAR_GAP:.0%} at {TIMES_LONGER} times", met))
    figures = {
        "limit_macs": LIMIT,
        "bar_gap": BAR_GAP,
        "bar_times": TIMES_LONGER,
        "met": met,
        "mean_gap": gap,
        "mean_gap_error": error,
        "mean_times": ratio,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    publish("scratch", [Table(title, columns, list(map(row, outcomes))), kept], figures, options.output, model=model)


if __name__ == "__main__":
    main()

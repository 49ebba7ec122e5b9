"""Two slices of one supernet, the second of which answers where the first is not sure: accuracy and MACs over thresholds.

    python benchmarks/early_exit.py [--quick] [--int8] [--data DIR] [-o RESULT.json]

The whole network is the full supernet on all labels; what goes first is what `edgekit build --early-exit THRESHOLD` chooses
beside it, without a picture: for the least mean latency on a Raspberry Pi 4, and in a second table for the fewest mean MACs.
Shares, losses and MACs are those of the images that trained nothing, beside what the build predicts. The threshold that is
judged is the least whose loss on images held out of training, each as it is and changed as in training, stays within half the
bar. `--int8` also runs the file of the judged threshold.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Bar, Table, absent, bars, open_model, options_of, publish
from judge import IMAGES_AT_ONCE, SPLITS
from numpy.typing import NDArray

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.confidence import Confidence
from edgekit.assembler.costs import CostOf
from edgekit.assembler.early_exit import EarlyExit, find_early_exit
from edgekit.assembler.training.confidence import changed_images, fit_confidence
from edgekit.assembler.training.data import Dataset, read_parquet
from edgekit.assembler.training.data.dataset import split_by_group
from edgekit.assembler.training.recipe import Recipe
from edgekit.core.budget import Budget, Cost
from edgekit.core.operators import Operator
from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.target import parse_target
from edgekit.exporters.early_exit import EarlyExitProgram, answer
from edgekit.exporters.runner import RunResult
from edgekit.pipeline.early_exit import build_early_exit
from edgekit.pipeline.figures import price
from edgekit.supernet.early_exit import EarlyExitNetwork, sharpened
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.resizing import resized
from edgekit.supernet.storage import RECIPE, SupernetFolder
from edgekit.supernet.subnet import Subnet, slice_subnet
from edgekit.tasks.task import Task

TARGET = "rpi4"
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
ASKED = 0.9
LOSS_BAR, MACS_BAR = 0.002, 0.70
PICTURE_BY_PICTURE = 500
COLUMNS = (
    "threshold",
    "early",
    "predicted",
    "held out",
    "top-1",
    "points lost",
    "predicted",
    "held out",
    "top-1 of early",
    "mean MACs",
    "mean cost",
    "first",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Of one pair of networks on one set of images: shares, and the loss against the last network alone."""

    share: float
    accuracy: float
    loss: float
    loss_se: float
    accuracy_of_first: float
    mean_macs: float


class Cascades:
    """Remembers the answers of every network to one set of images."""

    def __init__(self, assembler: Assembler, task: Task, confidence: Confidence, dataset: Dataset) -> None:
        self.assembler, self.task, self.confidence = assembler, task, confidence
        self.x_NCHW, self.y_N = torch.from_numpy(dataset.x_NCHW), dataset.y_N
        self._known: dict[Genotype, NDArray[np.float32]] = {}

    def probabilities(self, genotype: Genotype) -> NDArray[np.float32]:
        """`p_NK`."""
        if genotype not in self._known:
            subnet = self.subnet(genotype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            size = self.assembler.supernet.spec.image_size_of(genotype)
            with torch.inference_mode():
                parts = [
                    subnet(resized(part.float() / 255, size).contiguous(memory_format=torch.channels_last))
                    for part in torch.split(self.x_NCHW, IMAGES_AT_ONCE)
                ]
            self._known[genotype] = torch.cat(parts).numpy()
        return self._known[genotype]

    def subnet(self, genotype: Genotype) -> Subnet:
        return sharpened(slice_subnet(self.assembler.supernet, genotype, self.task), self.confidence.sharpness)

    def measure(self, found: EarlyExit) -> Measured:
        """By the host program, whose stages look the answers up."""
        tables = [self.probabilities(one.genotype) for one in (found.first, found.last)]
        row_N = np.arange(len(self.y_N))

        def stage(p_NK: NDArray[np.float32], rows_N: NDArray[np.float32]) -> RunResult:
            return RunResult(outputs=p_NK[rows_N.astype(int)], times_ms=np.zeros(len(rows_N)))

        given = answer([partial(stage, p_NK) for p_NK in tables], [row_N, row_N], threshold=found.threshold)
        right_N = given.p_NK.argmax(1) == self.y_N
        alone_N = tables[1].argmax(1) == self.y_N
        lost_N = alone_N.astype(float) - right_N
        early_N = given.stage_N == 0
        share = float(early_N.mean())
        return Measured(
            share=share,
            accuracy=float(right_N.mean()),
            loss=float(lost_N.mean()),
            loss_se=float(lost_N.std() / np.sqrt(len(lost_N))),
            accuracy_of_first=float(right_N[early_N].mean()) if early_N.any() else float("nan"),
            mean_macs=found.mean("macs", share) / found.last.cost.macs,
        )

    def strays(self, found: EarlyExit, *, images: int) -> tuple[int, float]:
        """Against torch picture by picture: how many another network answers, and how far the answers are apart."""
        both = (found.first.genotype, found.last.genotype)
        spec = self.assembler.supernet.spec
        eager = EarlyExitNetwork(
            [self.subnet(one) for one in both],
            [spec.image_size_of(one) for one in both],
            threshold=found.threshold,
        )
        with torch.inference_mode():
            p_NK, stage_N = eager(self.x_NCHW[:images].float() / 255)
        first_NK, last_NK = (self.probabilities(one)[:images] for one in both)
        unsure_N = first_NK.max(1) < found.threshold
        expected_NK = np.where(unsure_N[:, None], last_NK, first_NK)
        same_N = stage_N.numpy() == unsure_N
        return int((~same_N).sum()), float(np.abs(p_NK.numpy() - expected_NK)[same_N].max())


def held_out_of(folder: SupernetFolder, data: Path) -> Dataset:
    """The images of the tracks that training held out."""
    recipe = Recipe.load(folder.path / RECIPE)
    train = read_parquet(data, "train", image_size=folder.spec.image_size, labels=folder.spec.labels)
    return split_by_group(train, held_out=recipe.held_out, seed=recipe.seed)[1]


def int8_row(
    folder: SupernetFolder, cascades: Cascades, found: EarlyExit, seed: int
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The file that a build writes, on the same images."""
    labels = ", ".join(label.name for label in folder.vocabulary.labels)
    with tempfile.TemporaryDirectory(prefix="edgekit-benchmark-") as name:
        place = Path(name) / "out"
        built = build_early_exit(
            early_exit=found.threshold, task=labels, target=TARGET, model=folder.path, output=place, seed=seed
        )
        program = EarlyExitProgram.read(place)
        stages = program.load(place)
        pictures = [
            resized(cascades.x_NCHW.float() / 255, variant.image_size).permute(0, 2, 3, 1).contiguous().numpy()
            for variant in built.variants
        ]
        given = answer(stages, pictures, threshold=program.threshold)
        last_N = stages[1](pictures[1]).outputs.argmax(1)
    share = float((given.stage_N == 0).mean())
    accuracy, alone = (float((answers == cascades.y_N).mean()) for answers in (given.p_NK.argmax(1), last_N))
    first_macs, last_macs = (variant.figure("MACs").value for variant in built.variants)
    macs = (first_macs + (1 - share) * last_macs) / last_macs
    record = {"threshold": found.threshold, "share": share, "accuracy": accuracy, "alone": alone, "mean_macs": macs}
    cells = (f"{found.threshold:g}, int8 file", f"{share:.1%}", f"{accuracy:.2%}", f"{100 * (alone - accuracy):+.2f}")
    return (*cells, f"{macs:.1%}"), record


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="three thresholds; writes no record")
    parser.add_argument("--int8", action="store_true", help="also build and run the int8 file of the judged threshold")
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    spec, assembler = folder.spec, Assembler.load(folder)
    confidence = Confidence.of_card(folder.card)
    if not confidence.images:
        absent(f"the card of {folder.name} has no figures of confidence")
    split = next((split for split in SPLITS if any(options.data.glob(f"{split}*.parquet"))), SPLITS[-1])
    task, target = Task(indices=tuple(range(spec.labels)), text="all labels"), parse_target(TARGET)
    held_out, recipe = held_out_of(folder, options.data), Recipe.load(folder.path / RECIPE)
    changed = changed_images(torch.from_numpy(held_out.x_NCHW), recipe.augmentation, seed=recipe.seed)
    refitted = fit_confidence(assembler.supernet, assembler.searcher, held_out, recipe.augmentation, seed=recipe.seed)
    chosen_on = [
        Cascades(assembler, task, confidence, one) for one in (held_out, replace(held_out, x_NCHW=changed.numpy()))
    ]
    judged_on = Cascades(
        assembler, task, confidence, read_parquet(options.data, split, image_size=spec.image_size, labels=spec.labels)
    )
    alone = float((judged_on.probabilities(spec.full).argmax(1) == judged_on.y_N).mean())

    cost_of = partial(price, load_cost_model(target), target.precision)
    thresholds = (0.8, ASKED, 0.98) if options.quick else THRESHOLDS
    shown, judged_bars = [], []
    figures: dict[str, Any] = {
        "images": len(judged_on.y_N),
        "split": split,
        "alone": alone,
        "confidence": {"card": asdict(confidence), "refitted": asdict(refitted)},
    }
    for cost, tables in (
        ("latency", assembler.tables(task, cost_of)),
        ("MACs", assembler.tables(task, partial(macs_as_latency, cost_of))),
    ):
        found = {
            threshold: find_early_exit(
                assembler.searcher, task, Budget(), tables, confidence, threshold=threshold, seed=options.seed
            )
            for threshold in thresholds
        }
        known = {threshold: [images.measure(one) for images in chosen_on] for threshold, one in found.items()}
        losses = {threshold: float(np.mean([one.loss for one in both])) for threshold, both in known.items()}
        judged = min((t for t, loss in losses.items() if loss <= LOSS_BAR / 2), default=max(found))
        measured = {threshold: judged_on.measure(one) for threshold, one in found.items()}
        title = (
            f"{folder.name}, {spec.labels} labels, {len(judged_on.y_N):,} {split} images, the first network chosen for mean "
            f"{cost}; the whole network alone: {alone:.2%}"
        )
        records = [record_of(found[t], one, known[t][0].share, losses[t]) for t, one in measured.items()]
        shown.append(Table(title, COLUMNS, [row_of(record) for record in records]))
        strays, difference = judged_on.strays(found[judged], images=PICTURE_BY_PICTURE)
        figures[cost] = {
            "judged": judged,
            "picture_by_picture": {"images": PICTURE_BY_PICTURE, "strays": strays, "difference": difference},
            "thresholds": records,
        }
        judged_bars += [*bars_of(cost, measured, judged), _equal(strays, difference)]
        if options.int8 and cost == "latency":
            cells, figures["int8"] = int8_row(folder, judged_on, found[judged], options.seed)
            columns = ("threshold", "early", "top-1", "points lost", "mean MACs")
            shown.append(Table("The int8 file, against its second network alone", columns, [cells]))
    shown.append(bars(*judged_bars))
    publish("early_exit", shown, figures, options.output, model=folder, write=not options.quick)
    return 0


def macs_as_latency(cost_of: CostOf, operators: Sequence[Operator]) -> Cost:
    cost = cost_of(operators)
    return replace(cost, latency_ms=cost.macs)


def record_of(found: EarlyExit, measured: Measured, share_held_out: float, loss_held_out: float) -> dict[str, Any]:
    return {
        "threshold": found.threshold,
        "first": str(found.first.genotype),
        "last": str(found.last.genotype),
        **asdict(measured),
        "share_predicted": found.share,
        "share_held_out": share_held_out,
        "share_interval": list(found.share_interval),
        "loss_predicted": found.last.accuracy - found.accuracy,
        "loss_held_out": loss_held_out,
        "mean_cost": found.mean("latency_ms", measured.share) / found.last.cost.latency_ms,
    }


def row_of(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{record['threshold']:g}",
        f"{record['share']:.1%}",
        f"{record['share_predicted']:.1%}",
        f"{record['share_held_out']:.1%}",
        f"{record['accuracy']:.2%}",
        f"{100 * record['loss']:+.2f} +- {100 * record['loss_se']:.2f}",
        f"{100 * record['loss_predicted']:+.2f}",
        f"{100 * record['loss_held_out']:+.2f}",
        f"{record['accuracy_of_first']:.2%}",
        f"{record['mean_macs']:.1%}",
        f"{record['mean_cost']:.1%}",
        record["first"],
    )


def bars_of(cost: str, measured: dict[float, Measured], judged: float) -> list[Bar]:
    found = []
    for threshold in (judged, ASKED):
        one = measured[threshold]
        name = f"at {threshold:g}, {'judged' if threshold == judged else 'as in the manual'}, first for {cost}"
        lost = f"{100 * one.loss:+.2f} +- {100 * one.loss_se:.2f} points"
        found += [
            (f"lost {name}", lost, f"at most {100 * LOSS_BAR:.1f} points", one.loss <= LOSS_BAR),
            (f"mean MACs {name}", f"{one.mean_macs:.1%}", f"at most {MACS_BAR:.0%}", one.mean_macs <= MACS_BAR),
        ]
    return found


def _equal(strays: int, difference: float) -> Bar:
    measured = f"{strays} of {PICTURE_BY_PICTURE} otherwise, {difference:.1e} apart"
    return "equal to eager torch, picture by picture", measured, "0, within 1e-5", strays == 0 and difference <= 1e-5


if __name__ == "__main__":
    sys.exit(main())

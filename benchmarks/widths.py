"""The front of one supernet on rpi4 against the same backbone at five widths, each trained for itself on all labels.

    python benchmarks/widths.py train [--steps N | --minutes M] [--widths 8,6,4,2,1] [--model things200] [--folder FOLDER]
    python benchmarks/widths.py report [--model things200] [--folder FOLDER] [-o RESULT.json]

`train` makes plain networks: the supernet's stem and blocks at its full image size, with 8, 6, 4, 2 or 1 eighths of the
hidden channels in every block; images, their changes, growing image sizes, batch and optimiser are those of the supernet's
recipe, one cosine over the whole training. As the supernet's, their normalisation is frozen after the recipe's share of
warm-up, at the statistics of pictures as they come, and nothing is cut out from there on. On a GPU where there is one. It
keeps a checkpoint of each every few minutes and goes on from it; widths that are done are passed over. `--steps` gives the
same networks on every run, `--minutes` is for each width.

`report` sets beside each plain network the best that the supernet has at no more than its predicted latency. The plain ones
also see the images that the supernet's training held out.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from baselines.dense import all_of, dense_spec
from baselines.training import Course, Images, Training
from harness import REPO_ROOT, Table, absent, bars, open_model, options_of, publish
from judge import Judge
from safetensors import safe_open

from edgekit.assembler.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from edgekit.assembler.training.data import read_parquet
from edgekit.assembler.training.recipe import Recipe
from edgekit.assembler.training.statistics import settle_statistics
from edgekit.core.budget import Budget
from edgekit.supernet.description import describe
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.storage import SupernetFolder
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet

EIGHTHS = (8, 6, 4, 2, 1)
CHECKPOINT_EVERY = 250
BAR_BEHIND = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A plain network, and the supernet's best at its latency."""

    eighths: int
    latency_ms: float
    macs: float
    steps: int
    minutes: float
    accuracy: float
    genotype: str
    supernet_latency_ms: float
    supernet_accuracy: float
    behind: float
    behind_se: float


def plain_network(spec: SupernetSpec, eighths: int, *, seed: int) -> Supernet:
    hidden = [max(1, block.hidden_channels * eighths // 8) for block in spec.blocks]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Supernet(dense_spec(spec, hidden, image_size=spec.image_size, outputs=spec.labels))


class PlainTraining:
    """One width's training; it goes on from its checkpoint at `path` where there is one."""

    def __init__(self, spec: SupernetSpec, eighths: int, path: Path, recipe: Recipe, images: Images) -> None:
        self.recipe, self.path, self.sizes = recipe, path, spec.image_sizes
        self.warmup = recipe.warmup_steps / recipe.steps
        network = plain_network(spec, eighths, seed=recipe.seed)
        device = images.x_NCHW.device
        self.network: Supernet = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.training = Training(
            self.network,
            lambda x_NCHW: self.network(x_NCHW, self.network.spec.full),
            images,
            Course.of(recipe, learning_rate=recipe.warmup_learning_rate),
            seed=recipe.seed,
        )
        self.steps, self.seconds = load_checkpoint(path, self._state()) if path.exists() else (0, 0.0)

    def run(self, *, steps: int | None, minutes: float | None) -> None:
        def share(steps_taken: int, seconds: float) -> float:
            return steps_taken / steps if steps else seconds / (60 * minutes) if minutes else 1.0

        warming_up = self.steps == 0 or share(self.steps - 1, self.seconds) < self.warmup
        self.network.train(warming_up)
        started = time.monotonic() - self.seconds
        while True:
            self.seconds = time.monotonic() - started
            done = share(self.steps, self.seconds)
            if done >= 1:
                break
            if warming_up and done >= self.warmup:
                settle_statistics(self.network, lambda: self.training.draw()[0])
                warming_up = False
            loss = self.training.step(done, image_size=self._image_size(done), in_place=not warming_up)
            self.steps += 1
            if self.steps % CHECKPOINT_EVERY == 0:
                self._save()
                print(f"{self.path.stem}: step {self.steps}, {done:.0%}, loss {loss:.2f}", file=sys.stderr, flush=True)
        self._save()

    def _image_size(self, done: float) -> int:
        """It grows as it does for the supernet's full network."""
        ends = np.cumsum(self.recipe.size_shares)
        return self.sizes[min(int(np.searchsorted(ends, done, side="right")), len(ends) - 1)]

    def _save(self) -> None:
        save_checkpoint(self.path, self._state(), step=self.steps, seconds=self.seconds)

    def _state(self) -> TrainingState:
        training = self.training
        return TrainingState(
            modules={"network": self.network},
            optimizers=training.optimizers.each,
            images=training.drawn,
            tasks=training.mixed,
        )


def checkpoint_of(folder: Path, eighths: int) -> Path:
    return folder / f"width-{eighths}.safetensors"


def train(folder: SupernetFolder, recipe: Recipe, options: argparse.Namespace) -> None:
    spec = folder.spec
    dataset = read_parquet(options.data, "train", image_size=spec.image_size, labels=spec.labels)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = replace(Images.of(dataset), x_NCHW=torch.from_numpy(dataset.x_NCHW).to(device))
    for eighths in options.widths:
        path = checkpoint_of(options.folder, eighths)
        PlainTraining(spec, eighths, path, recipe, images).run(steps=options.steps, minutes=options.minutes)


def point(judge: Judge, path: Path, eighths: int) -> Point:
    """Accuracy on all labels; the error of the difference is that image by image."""
    network = plain_network(judge.spec, eighths, seed=0).eval()
    with safe_open(path, "pt") as file:
        metadata, keys = file.metadata(), [key for key in file.keys() if key.startswith("network.")]  # noqa: SIM118
        network.load_state_dict({key.removeprefix("network."): file.get_tensor(key) for key in keys})
    spec, everything = network.spec, all_of(network.spec)
    cost = judge.cost_of(describe(spec, spec.full, rows=spec.labels, sums=None))
    tables = judge.assembler.tables(everything, judge.cost_of)
    # The same operators summed in another order: the last digit decides nothing.
    budget = Budget(latency_ms=cost.latency_ms * (1 + 1e-9))
    found = judge.assembler.searcher.search(everything, budget, tables, seed=0)
    right = judge.right_of(slice_subnet(network, spec.full, everything), everything, spec.image_size)
    pair = found.genotype, everything
    ahead = right.astype(float) - judge.right([pair])[pair]
    return Point(
        eighths=eighths,
        latency_ms=cost.latency_ms,
        macs=cost.macs,
        steps=int(metadata["step"]),
        minutes=float(metadata["seconds"]) / 60,
        accuracy=float(right.mean()),
        genotype=str(found.genotype),
        supernet_latency_ms=found.cost.latency_ms,
        supernet_accuracy=float((right - ahead).mean()),
        behind=float(ahead.mean()),
        behind_se=float(ahead.std(ddof=1) / np.sqrt(len(ahead))),
    )


def report(folder: SupernetFolder, options: argparse.Namespace) -> None:
    judge = Judge(folder, options.data)
    paths = {eighths: checkpoint_of(options.folder, eighths) for eighths in options.widths}
    points = [point(judge, path, eighths) for eighths, path in paths.items() if path.exists()]
    if not points:
        absent(f"no networks in {options.folder}: train them first")
    card_minutes = folder.card["training"]["seconds"] / 60
    minutes = sum(one.minutes for one in points)
    rows = [
        (
            f"{one.eighths}/8",
            f"{one.latency_ms:.3f}",
            f"{one.macs / 1e6:.2f}",
            f"{one.accuracy:.2%}",
            f"{one.steps:,}",
            f"{one.minutes:.0f}",
            one.genotype,
            f"{one.supernet_latency_ms:.3f}",
            f"{one.supernet_accuracy:.2%}",
            f"{one.behind:+.2%} +- {one.behind_se:.2%}",
        )
        for one in points
    ]
    columns = (
        "width",
        "ms",
        "MMACs",
        "top-1",
        "steps",
        "minutes",
        "of the supernet",
        "ms",
        "top-1",
        "supernet behind by",
    )
    worst = max(points, key=lambda one: one.behind)
    tables = [
        Table(f"{folder.spec.labels} labels, {judge.split} images, latency predicted on rpi4", columns, rows),
        Table(
            "Training, in minutes of wall time",
            ("", "steps", "minutes"),
            [
                (f"{len(points)} widths", f"{sum(one.steps for one in points):,}", f"{minutes:.0f}"),
                ("supernet", f"{folder.card['training']['steps']:,}", f"{card_minutes:.0f}"),
            ],
        ),
        bars(
            (
                f"supernet behind, worst width ({worst.eighths}/8)",
                f"{worst.behind:+.2%} +- {worst.behind_se:.2%}",
                f"at most {BAR_BEHIND:.0%}",
                worst.behind <= BAR_BEHIND and len(points) == len(EIGHTHS),
            )
        ),
    ]
    figures = {
        "points": [asdict(one) for one in points],
        "minutes": minutes,
        "supernet_minutes": card_minutes,
    }
    publish("widths", tables, figures, options.output, model=folder)


def main() -> int:
    parser = options_of(__doc__, model="things200")
    parser.add_argument("action", choices=("train", "report"))
    parser.add_argument("--folder", type=Path, help="of the checkpoints; default: runs/widths.MODEL")
    parser.add_argument(
        "--widths",
        type=lambda text: tuple(map(int, text.split(","))),
        default=EIGHTHS,
        help="eighths; default: 8,6,4,2,1",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="of each width")
    length.add_argument("--minutes", type=float, help="of each width, on this machine as it is")
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    options.folder = options.folder or REPO_ROOT / "runs" / f"widths.{folder.name}"
    if options.action == "report":
        report(folder, options)
    elif options.steps or options.minutes:
        train(folder, Recipe.load(folder.path / "recipe.toml"), options)
    else:
        parser.error("train needs --steps or --minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

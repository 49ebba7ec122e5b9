"""prune::fedtiny against magnitude, SNIP and SynFlow at equal density and equal fine-tuning, on traffic signs.

    python benchmarks/fedtiny.py [--quick] [--seeds N] [--steps N] [--dense-steps N] [--seconds S] [--device cuda]
                                 [--data FOLDER] [--cache FOLDER] [-o RESULT.json]

A small ResNet of plain 3x3 convolutions is trained once; all methods start from its weights and keep the same number of them.
The masks of magnitude (one ranking of all layers, and ERK densities by layer), SNIP and SynFlow are fixed; FedTiny votes
and exchanges. All are then fine-tuned with the same loss (labels and the dense network), batches, optimizer and number of
mini-batches; those that FedTiny only takes gradients of are taken off its steps. The learning rate is chosen for each
method and density by images held out of the training (whole tracks), with the first seed; the others run with it. The
test images are looked at for the table alone.

Each training is kept in the cache, so that a run that ends, also by --seconds, goes on where it stopped. As it stands it is
for one CPU core. A GPU affords a larger network, all images, and several seeds:

    python benchmarks/fedtiny.py --width 16 --images 40000 --dense-steps 4000 --steps 1000 --seeds 3 --seconds 540
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from baselines.pruning_scores import magnitude, snip, synflow
from harness import IMAGES, REPO_ROOT, Table, absent, bars, options_of, publish, standard_error
from safetensors.torch import load_file, save
from signs43_resnet import LABELS, SHAPE, ResNet
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.training.augmentation import Augmentation
from edgekit.assembler.training.data import Dataset, read_parquet, split_by_group
from edgekit.core.model import Model, Preprocessing
from edgekit.core.records import write_bytes, write_json
from edgekit.devices.target import parse_target
from edgekit.passes.contract import Context, Samples
from edgekit.passes.fedtiny import FedTiny
from edgekit.passes.fedtiny_clients import GRADIENT_BATCHES, Client, Task
from edgekit.pruning.batch_norm_selection import load
from edgekit.pruning.candidates import macs_of, uses_of
from edgekit.pruning.masked_training import rise_and_fall, train_masked
from edgekit.pruning.masks import (
    Masks,
    apply_masks,
    counts_of,
    erk_shares,
    kept,
    kept_in_total,
    magnitude_masks,
    packed,
    prunable,
)

BATCH = 128
DENSITIES = (0.1, 0.05, 0.01)
LEARNING_RATES = (0.1, 0.2)
METHODS = ("fedtiny", "magnitude", "magnitude, ERK", "SNIP", "SynFlow")
BAR_BEHIND = 0.005
STEPS_PER_ADJUSTMENT = 150
AUGMENTATION = Augmentation(scale=(0.85, 1.1), stretch=0.1, shift=0.1, tilt=10.0, light=0.4, contrast=0.3, blur=0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    training: Samples
    held_out: Samples
    test: Samples


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One fine-tuned network; accuracies are shares."""

    method: str
    density: float
    learning_rate: float
    seed: int
    held_out: float
    test: float
    kept: int
    macs: int
    emptied_layers: int
    file_bytes: int
    packed_bytes: int
    seconds: float
    device: str
    notes: Sequence[str] = ()


def read_images(folder: Path, device: str, *, images: int) -> Images:
    """Of each split so many at random."""

    def samples(dataset: Dataset) -> Samples:
        number = min(len(dataset), images)
        chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:number].numpy()
        x_NCHW = torch.from_numpy(dataset.x_NCHW[chosen]).to(device).float() / 255
        return Samples(x_N=x_NCHW, y_N=torch.from_numpy(dataset.y_N[chosen]).to(device))

    dataset = read_parquet(folder, "train", image_size=SHAPE[1], labels=LABELS)
    kept_, held_out = split_by_group(dataset, held_out=0.1, seed=0)
    test = read_parquet(folder, "test", image_size=SHAPE[1], labels=LABELS)
    return Images(training=samples(kept_), held_out=samples(held_out), test=samples(test))


@torch.inference_mode()
def accuracy(module: nn.Module, samples: Samples) -> float:
    assert samples.y_N is not None
    right = [
        (module(x_N).argmax(1) == y_N).sum()
        for x_N, y_N in zip(samples.x_N.split(512), samples.y_N.split(512), strict=True)
    ]
    return float(sum(right)) / len(samples)


def augment(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    return AUGMENTATION.change(x_NCHW, AUGMENTATION.draw(len(x_NCHW), generator))


def learnt(
    client: Client, module: nn.Module, masks: Masks, steps: int, peak: float, *, labels_alone: bool = False
) -> None:
    """In place; at the end the normalisation is measured anew, as the pass does."""

    def hard(module: nn.Module, x_N: Tensor, indices_B: Tensor) -> Tensor:
        return F.cross_entropy(module(x_N), client.task.samples.y_N[indices_B], label_smoothing=0.05)

    losses = (partial(hard, **loss_of.keywords) if labels_alone else loss_of for loss_of in client.losses(0, steps))
    rates = (peak * rise_and_fall(step / steps, step / steps) for step in range(steps))
    train_masked(module, masks, {}, zip(rates, losses, strict=True))
    load(module, client.statistics(module))


class Comparison:
    def __init__(self, images: Images, options: argparse.Namespace) -> None:
        self.images, self.options = images, options
        self.dense = fx.symbolic_trace(ResNet(options.width)).to(options.device)
        self.model = Model(
            module=self.dense,
            input_shape=SHAPE,
            labels=tuple(map(str, range(LABELS))),
            preprocessing=Preprocessing(height=SHAPE[1], width=SHAPE[2]),
            operators=(),
            output_range=None,
        )
        self.until = time.monotonic() + options.seconds
        self.cache = options.cache / f"width{options.width}-{options.dense_steps}-{options.steps}-{options.images}"
        self.train_dense()
        self.uses = uses_of(self.dense, tuple(prunable(self.dense)), images.test.x_N[:1])

    def context(self, seed: int) -> Context:
        return Context(
            original=self.model,
            target=parse_target("rpi4"),
            latency_ms=lambda _operators: 0.0,
            calibration=self.images.training,
            judging=self.images.held_out,
            training=self.images.training,
            augment=augment,
            seed=seed,
        )

    def client(self, seed: int) -> Client:
        task = Task.of(self.context(seed), self.images.training.x_N.device)
        order_N = torch.randperm(len(self.images.training), generator=torch.Generator().manual_seed(seed))
        return Client(task=task, number=0, indices_N=order_N, batch=BATCH)

    def train_dense(self) -> None:
        path = self.cache / "dense.safetensors"
        if path.exists():
            self.dense.load_state_dict(load_file(path, self.options.device))
        else:
            torch.manual_seed(0)
            self.dense.load_state_dict(ResNet(self.options.width).state_dict())
            learnt(self.client(0), self.dense, {}, self.options.dense_steps, 0.2, labels_alone=True)
            write_bytes(path, save({name: one.cpu().contiguous() for name, one in self.dense.state_dict().items()}))
        self.dense.eval()

    def masks(self, method: str, density: float, client: Client) -> Masks:
        if method == "magnitude":
            return magnitude(self.dense, density)
        if method == "magnitude, ERK":
            weights = prunable(self.dense)
            sizes = {name: weight.numel() for name, weight in weights.items()}
            shares = erk_shares({name: tuple(weight.shape) for name, weight in weights.items()})
            return magnitude_masks(weights, counts_of(shares, sizes, kept_in_total(sizes.values(), density)))
        if method == "SNIP":
            return snip(self.dense, density, list(client.losses(0, 8)))
        return synflow(self.dense, density, SHAPE)

    def run(self, method: str, density: float, rate: float, seed: int) -> Outcome | None:
        """From the cache where it is there; None where the time is up."""
        path = self.cache / f"{method} {density} {rate} {seed}.json"
        if path.exists():
            return Outcome(**json.loads(path.read_text()))
        if time.monotonic() > self.until:
            return None
        started, steps, notes = time.monotonic(), self.options.steps, ()
        if method == "fedtiny":
            adjustments = min(FedTiny().adjustments, steps // STEPS_PER_ADJUSTMENT)
            epochs = (steps - adjustments * GRADIENT_BATCHES) / (len(self.images.training) // BATCH)
            fedtiny = FedTiny(density=density, epochs=epochs, batch=BATCH, learning_rate=rate, adjustments=adjustments)
            result = fedtiny(self.model, self.context(seed))
            module, masks, notes = result.model.module, result.model.masks, result.notes
        else:
            module, client = copy.deepcopy(self.dense), self.client(seed)
            masks = self.masks(method, density, client)
            learnt(client, module, masks, steps, rate)
        apply_masks(module, masks)
        weights = {name: one.cpu().contiguous() for name, one in module.state_dict().items()}
        leftover = sum(
            one.numel() * 4 for name, one in weights.items() if name not in masks and one.is_floating_point()
        )
        outcome = Outcome(
            method=method,
            density=density,
            learning_rate=rate,
            seed=seed,
            held_out=accuracy(module, self.images.held_out),
            test=accuracy(module, self.images.test),
            kept=kept(masks),
            macs=macs_of(masks, self.uses),
            emptied_layers=sum(not mask.any() for mask in masks.values()),
            file_bytes=len(save(weights)),
            packed_bytes=4 * kept(masks) + len(packed(masks)) + leftover,
            seconds=time.monotonic() - started,
            device=torch.cuda.get_device_name() if self.options.device.startswith("cuda") else "CPU",
            notes=list(notes),
        )
        write_json(path, asdict(outcome))
        print(f"{method} {density} {rate} {seed}: {outcome.held_out:.2%} {outcome.seconds:.0f} s", file=sys.stderr)
        return outcome

    def all_seeds(self, method: str, density: float) -> list[Outcome] | None:
        """With the learning rate that is best on the images held out; None where something is missing."""
        tried = [self.run(method, density, rate, 0) for rate in self.options.rates]
        done = [one for one in tried if one is not None]
        if len(done) < len(tried):
            return None
        best = max(done, key=lambda one: one.held_out)
        others = [self.run(method, density, best.learning_rate, seed) for seed in range(1, self.options.seeds)]
        return None if None in others else [best, *(one for one in others if one is not None)]


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="4,000 images, 120 steps, one learning rate; no record")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400, help="of fine-tuning, each of 128 images")
    parser.add_argument("--dense-steps", type=int, default=1000, help="of the dense network's training")
    parser.add_argument("--width", type=int, default=8, help="channels of the first layer")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no training after so many")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cache", type=Path, default=REPO_ROOT / "runs" / "fedtiny", help="default: %(default)s")
    parser.add_argument("--densities", type=float, nargs="+", default=DENSITIES)
    parser.add_argument("--rates", type=float, nargs="+", default=LEARNING_RATES, help="learning rates to choose from")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--images", type=int, default=12000, help="of each split at most")
    options = parser.parse_args()
    if options.quick:
        options.images, options.dense_steps, options.steps, options.rates = 4000, 150, 120, LEARNING_RATES[:1]
    data = options.data or IMAGES / "signs43"
    if not any(data.glob("*.parquet")):
        absent(f"no Parquet files in {data}: name the folder of images with --data")
    comparison = Comparison(read_images(data, options.device, images=options.images), options)
    outcomes = {
        (density, method): comparison.all_seeds(method, density)
        for density in options.densities
        for method in options.methods
    }
    if None in outcomes.values():
        print("the time is up: run it again, and it goes on")
        return 0
    report(comparison, {key: one for key, one in outcomes.items() if one is not None}, options)
    return 0


def report(
    comparison: Comparison, outcomes: dict[tuple[float, str], list[Outcome]], options: argparse.Namespace
) -> None:
    dense = accuracy(comparison.dense, comparison.images.test)
    weights = prunable(comparison.dense)
    macs = sum(comparison.uses[name] * weight.numel() for name, weight in weights.items())
    mean = {key: fmean(one.test for one in group) for key, group in outcomes.items()}
    rows = [
        (
            f"{method}",
            f"{density:g}",
            f"{mean[density, method]:.2%}",
            f"{standard_error([one.test for one in group]):.2%}" if len(group) > 1 else "-",
            f"{group[0].learning_rate:g}",
            group[0].emptied_layers,
            f"{fmean(one.macs for one in group) / 1e6:.3f}",
            f"{macs / 1e6:.3f}",
            f"{fmean(one.file_bytes for one in group) / 1e3:.1f}",
            f"{fmean(one.packed_bytes for one in group) / 1e3:.1f}",
        )
        for (density, method), group in outcomes.items()
    ]
    columns = (
        "",
        "density",
        "test accuracy",
        "+-",
        "learning rate",
        "emptied layers",
        "MMACs of non-zeros",
        "MMACs executed",
        "kB dense file",
        "kB packed",
    )
    title = (
        f"signs43, ResNet of {sum(map(Tensor.numel, weights.values()))} weights, dense {dense:.2%}; "
        f"{options.steps} steps of {BATCH}, {options.seeds} seeds, {outcomes[next(iter(outcomes))][0].device}"
    )
    behind = {
        density: max(mean[density, method] for method in options.methods if method != "fedtiny")
        - mean[density, "fedtiny"]
        for density in options.densities
        if "fedtiny" in options.methods and len(options.methods) > 1
    }
    tables = [
        Table(title, columns, rows),
        bars(
            *(
                (
                    f"FedTiny behind the best baseline at density {density:g}",
                    f"{100 * points:+.2f} points",
                    f"at most {100 * BAR_BEHIND:.1f}",
                    points <= BAR_BEHIND,
                )
                for density, points in behind.items()
            )
        ),
    ]
    figures = {
        "dense_test_accuracy": dense,
        "dense_macs": macs,
        "steps": options.steps,
        "batch": BATCH,
        "behind_best_baseline": {str(density): points for density, points in behind.items()},
        "outcomes": [asdict(one) for group in outcomes.values() for one in group],
    }
    publish("fedtiny", tables, figures, options.output, write=not options.quick)


if __name__ == "__main__":
    sys.exit(main())

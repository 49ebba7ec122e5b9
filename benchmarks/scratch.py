"""The assembled network against the same one trained from scratch for its task alone.

    python benchmarks/scratch.py [--tasks N] [--labels N] [--max-seconds S] [--model MODEL] [--data FOLDER] [-o RESULT.json]

For random tasks of 5 labels the assembler picks a genotype at 12.5 % of the MACs. A dense network of the same shape gets
fresh weights and 1,000 times the seconds that the assembly took: all training images of the task's labels, the
supernet's augmentation, AdamW with a cosine over the whole time. Both are judged in float32 on the test images of the
task's labels; the error of the gap is that of the difference image by image.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from harness import Table, bars, load_assembler, open_model, options_of, publish, standard_error
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.costs import CostOf
from edgekit.assembler.training.augmentation import augment
from edgekit.assembler.training.data import read_parquet
from edgekit.core.budget import Budget, Share
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.subnet import Subnet, slice_subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.sampling import random_task
from edgekit.tasks.task import Task

LIMIT = 0.125
TIMES_LONGER = 1000
ASSEMBLIES = 5
BAR_GAP = 0.01
BATCH, LEARNING_RATE, WEIGHT_DECAY, LABEL_SMOOTHING = 96, 4e-3, 0.02, 0.1
RISE = 0.03  # share of the time in which the learning rate rises


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Images `x_NCHW` uint8 of a task's labels, and the task's output for each."""

    x_NCHW: Tensor
    y_N: Tensor

    @classmethod
    def read(cls, folder: Path, split: str, spec: SupernetSpec) -> Images:
        dataset = read_parquet(folder, split, image_size=spec.image_size, labels=spec.labels)
        return cls(x_NCHW=torch.from_numpy(dataset.x_NCHW), y_N=torch.from_numpy(dataset.y_N))

    def of(self, task: Task) -> Images:
        indices = torch.tensor(task.indices)
        chosen = torch.isin(self.y_N, indices)
        return Images(x_NCHW=self.x_NCHW[chosen], y_N=torch.searchsorted(indices, self.y_N[chosen]))


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


def dense(spec: SupernetSpec, genotype: Genotype, outputs: int) -> Supernet:
    """The network of a genotype with fresh weights: its open bricks as one, its closed blocks gone."""
    blocks = tuple(
        replace(block, hidden_channels=count * block.brick_channels, bricks=1)
        for block, count in zip(spec.blocks, genotype.counts, strict=True)
        if count
    )
    return Supernet(replace(spec, blocks=blocks, labels=outputs))


def trained(network: Supernet, images: Images, seconds: float, *, seed: int) -> int:
    """Trains in place for so many seconds; returns the number of steps."""
    generator = torch.Generator().manual_seed(seed)
    weights_N = torch.bincount(images.y_N).float().rsqrt()[images.y_N]
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.99)
    )
    network.train()
    started, steps = time.perf_counter(), 0
    while (done := (time.perf_counter() - started) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (done + 1e-3) / RISE) * 0.5 * (1 + math.cos(math.pi * done))
        drawn = torch.multinomial(weights_N, BATCH, True, generator=generator)
        x_NCHW = augment(images.x_NCHW[drawn].float() / 255, generator).contiguous(memory_format=torch.channels_last)
        logits_NK = network(x_NCHW, network.spec.full)
        loss = F.cross_entropy(logits_NK, images.y_N[drawn], label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        steps += 1
    network.eval()
    return steps


def assembled(assembler: Assembler, cost_of: CostOf, task: Task, *, seed: int) -> tuple[Genotype, Subnet, float]:
    """The genotype, its subnet, and the seconds from the task to it, the median of several times."""
    times_s = []
    for _ in range(ASSEMBLIES):
        started = time.perf_counter()
        tables = assembler.tables(task, cost_of)
        genotype = assembler.searcher.search(task, Budget(macs=Share(fraction=LIMIT)), tables, seed=seed).genotype
        subnet = slice_subnet(assembler.supernet, genotype, task)
        times_s.append(time.perf_counter() - started)
    return genotype, subnet, median(times_s)


@torch.inference_mode()
def right_of(network: nn.Module, images: Images) -> Tensor:
    answers = [network(x_NCHW.float() / 255).argmax(1) for x_NCHW in images.x_NCHW.split(500)]
    return (torch.cat(answers) == images.y_N).float()


def compared(
    assembler: Assembler, cost_of: CostOf, task: Task, train: Images, test: Images, *, max_seconds: float, seed: int
) -> Outcome:
    genotype, subnet, assembly_s = assembled(assembler, cost_of, task, seed=seed)
    seconds = min(TIMES_LONGER * assembly_s, max_seconds)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = dense(assembler.searcher.spec, genotype, len(task.indices)).to(memory_format=torch.channels_last)
    mine, judged = train.of(task), test.of(task)
    steps = trained(network, mine, seconds, seed=seed)
    whole = slice_subnet(network, network.spec.full, Task(indices=tuple(range(len(task.indices))), text=task.text))
    right, scratch_right = right_of(subnet, judged), right_of(whole, judged)
    gaps = scratch_right - right
    return Outcome(
        task=task.text,
        genotype=str(genotype),
        test_images=len(judged.y_N),
        assembly_s=assembly_s,
        scratch_s=seconds,
        steps=steps,
        epochs=steps * BATCH / len(mine.y_N),
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
    assembler, cost_of = load_assembler(model)
    train, test = (Images.read(options.data, split, model.spec) for split in ("train", "test"))
    rng = np.random.default_rng(options.seed)
    tasks = [random_task(rng, model.vocabulary, options.labels) for _ in range(options.tasks)]
    assembled(assembler, cost_of, tasks[0], seed=options.seed)
    outcomes = [
        compared(assembler, cost_of, task, train, test, max_seconds=options.max_seconds, seed=options.seed)
        for task in tasks
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

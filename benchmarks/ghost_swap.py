"""Ghost modules in the place of ResNet-20's convolutions, started in several ways.

    python benchmarks/ghost_swap.py [--seeds 3] [--quick] [-o RESULT.json]

All 18 3x3 convolutions of the blocks become Ghost modules that compute half of their channels. What they start with differs:
random weights; the first half of the filters copied, with random cheap kernels and the normalisation of all channels; or the fit
in closed form, whole and with parts of it left out. Nothing is trained at first; then normalisation is measured anew on the
3,000 images to learn from; then, for the three ways to start, comes one epoch on them, by one recipe for all. Tested on the other
1,000.

The second table swaps the nine inner convolutions alone, where RepGhost's form is possible, too.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from cifar10_resnet20 import Images, images, resnet20
from harness import Table, absent, bars, options_of, publish
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.target import parse_target
from edgekit.networks.description import describe
from edgekit.networks.layers import recalibrate, run
from edgekit.passes.batch_norm_folding import fold_batch_norms
from edgekit.passes.branch_merging import merge_branches
from edgekit.passes.ghost_arrangement import Fitting, Order, arrange, best_order, groups_of, pair_errors
from edgekit.passes.ghost_cascade import Cascade, Form
from edgekit.passes.ghost_initialisation import choose_primaries, order_of
from edgekit.passes.ghost_modules import GhostModule, insert
from edgekit.passes.graph_reading import tidied
from edgekit.passes.shortcut_padding import pads_as_convolutions
from edgekit.passes.sites import sites_of

INPUT = (3, 32, 32)
FITTED_IMAGES, PLACES = 256, 8192
BATCH, LEARNING_RATE = 64, 0.02
STARTS = ("random", "copied filters", "closed form")
STAGES = ("zero-shot", "+ statistics", "+ 1 epoch")

Start = Callable[[fx.GraphModule, list[str], Tensor, int], fx.GraphModule]
"""(network, layers to swap, images to fit on, seed)"""


def random_start(original: fx.GraphModule, names: list[str], _x_NCHW: Tensor, seed: int) -> fx.GraphModule:
    return unfitted(original, names, seed, copied=False)


def copied_start(original: fx.GraphModule, names: list[str], _x_NCHW: Tensor, seed: int) -> fx.GraphModule:
    return unfitted(original, names, seed, copied=True)


def unfitted(original: fx.GraphModule, names: list[str], seed: int, *, copied: bool) -> fx.GraphModule:
    torch.manual_seed(seed)
    module = copy.deepcopy(original)
    for name in names:
        site = sites_of(module)[name]
        layer, norm, half = site.layer, site.norm, site.layer.out_channels // 2
        primary = nn.Conv2d(layer.in_channels, half, 3, stride=layer.stride[0], padding=1, bias=False)
        ghost = GhostModule(primary, ratio=2, kernel=3, activation=site.activation)
        if copied and norm is not None:
            primary.weight.data.copy_(layer.weight[:half])
            ghost.primary_norm.load_state_dict({key: value[:half] for key, value in of_channels(norm)}, strict=False)
            ghost.cheap_norm.load_state_dict(
                {key: value[half:] for key, value in of_channels(norm) if "running" not in key}, strict=False
            )
        insert(module, name, ghost.eval(), start=site.start, end=site.end)
    tidied(module)
    return module


def of_channels(norm: nn.Module) -> list[tuple[str, Tensor]]:
    return [(key, value) for key, value in norm.state_dict().items() if value.ndim]


def fitted_start(
    original: fx.GraphModule,
    names: list[str],
    x_NCHW: Tensor,
    seed: int,
    *,
    order: Order = best_order,
    ridge: float | None = 0.01,
    kernel: int = 3,
    form: Form = Form.CONCAT,
) -> fx.GraphModule:
    module, wanted = copy.deepcopy(original), copy.deepcopy(original)
    groups = {name: group for name, group in groups_of(module, INPUT, names).items() if not isinstance(group, str)}
    fitting = Fitting(x_batches=x_NCHW.split(64), kernel=kernel, places=PLACES, seed=seed)
    errors = pair_errors(module, names, fitting)
    arrange([module, wanted], {}, list(groups.values()), errors, 2, order)
    cascade = Cascade(
        module=module,
        original=wanted,
        masks={},
        groups=groups,
        fitting=fitting,
        ratio=2,
        max_residual=float("inf"),
        ridge=ridge,
    )
    cascade.run(dict.fromkeys(names, form))
    return module


def as_they_come(error_CC: Tensor, _ratio: int) -> Tensor:
    return torch.arange(len(error_CC))


def greedy_throughout(error_CC: Tensor, ratio: int) -> Tensor:
    """Each ghost, in turn, goes to the best primary that has room."""
    primaries = choose_primaries(error_CC, len(error_CC) // ratio)
    ghosts: list[list[int]] = [[] for _ in primaries]
    for ghost in range(len(error_CC)):
        if ghost not in primaries:
            room = [index for index, own in enumerate(ghosts) if len(own) < ratio - 1]
            ghosts[min(room, key=lambda index: float(error_CC[primaries[index], ghost]))].append(ghost)
    return order_of(primaries, ghosts)


ALL: dict[str, Start] = {
    "random": random_start,
    "copied filters": copied_start,
    "closed form": fitted_start,
    "- without refitting": partial(fitted_start, ridge=None),
    "- first half computed": partial(fitted_start, order=as_they_come),
    "- greedy, no Hungarian": partial(fitted_start, order=greedy_throughout),
    "- kernels 5x5": partial(fitted_start, kernel=5),
}
INNER: dict[str, Start] = {
    "Ghost": fitted_start,
    "RepGhost": partial(fitted_start, form=Form.SUM),
    "Ghost, not refitted": partial(fitted_start, ridge=None),
    "RepGhost, not refitted": partial(fitted_start, form=Form.SUM, ridge=None),
}


def accuracy(module: nn.Module, test: Images) -> float:
    return float((run(module, test.x_NCHW).argmax(1) == test.y_N).float().mean())


def one_epoch(module: nn.Module, training: Images, seed: int) -> None:
    """SGD with momentum against labels, the rate falling to zero; pictures mirrored at random."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randperm(len(training.y_N), generator=generator).split(BATCH)
    optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(steps))
    module.train()
    for index in steps:
        x_NCHW = training.x_NCHW[index]
        mirrored = torch.rand(len(x_NCHW), generator=generator) < 0.5
        x_NCHW = torch.where(mirrored[:, None, None, None], x_NCHW.flip(3), x_NCHW)
        optimizer.zero_grad()
        F.cross_entropy(module(x_NCHW), training.y_N[index]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    module.eval()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Accuracies by seed and stage; MACs and predicted milliseconds on a Raspberry Pi 4 once all is folded."""

    right: list[list[float]]
    mmacs: float
    ms: float

    def row(self, name: str) -> tuple[str, ...]:
        means, spreads = np.mean(self.right, 0), np.std(self.right, 0)
        stages = [f"{100 * mean:.1f} +- {100 * spread:.1f}" for mean, spread in zip(means, spreads, strict=True)]
        return (name, *stages, *[""] * (len(STAGES) - len(stages)), f"{self.mmacs:.1f}", f"{self.ms:.2f}")


def price(module: fx.GraphModule) -> tuple[float, float]:
    folded = copy.deepcopy(module)
    fold_batch_norms(folded, INPUT)
    merge_branches(folded, INPUT)
    operators = describe(folded, INPUT).operators
    return sum(one.macs for one in operators) / 1e6, load_cost_model(parse_target("rpi4")).latency_ms(operators)


def judged(
    name: str, start: Start, original: fx.GraphModule, names: list[str], training: Images, test: Images, seeds: int
) -> Outcome:
    right = []
    for seed in range(seeds):
        order = torch.randperm(len(training.y_N), generator=torch.Generator().manual_seed(seed))
        module = start(original, names, training.x_NCHW[order[:FITTED_IMAGES]], seed)
        stages = [accuracy(module, test)]
        recalibrate(module, training.x_NCHW.split(500))
        stages.append(accuracy(module, test))
        if name in STARTS:
            one_epoch(module, training, seed)
            stages.append(accuracy(module, test))
        right.append(stages)
        print(f"{name}, seed {seed}: {stages}", file=sys.stderr, flush=True)
    mmacs, ms = price(module)
    return Outcome(right=right, mmacs=mmacs, ms=ms)


def beats_others(outcomes: dict[str, Outcome], stage: int) -> tuple[str, bool]:
    *others, fitted = (float(np.mean(outcomes[name].right, 0)[stage]) for name in STARTS)
    return f"{fitted:.1%} against {max(others):.1%}", fitted > max(others)


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one seed, 512 images to learn from, three ways to start")
    options = parser.parse_args()
    try:
        original, (training, test) = fx.symbolic_trace(resnet20()), images()
    except OSError as error:
        absent(str(error))
    ways, inner = ALL, INNER
    if options.quick:
        options.seeds, inner = 1, {}
        ways = {name: ALL[name] for name in STARTS}
        training = Images(x_NCHW=training.x_NCHW[:512], y_N=training.y_N[:512])
    at_first = accuracy(original, test)
    mmacs, ms = price(original)
    pads_as_convolutions(original, INPUT)
    names = [name for name in sites_of(original) if name.startswith("layer")]
    columns = ("", *STAGES, "MMACs", "ms on rpi4")
    as_it_was = ("ResNet-20", f"{100 * at_first:.1f}", "", "", f"{mmacs:.1f}", f"{ms:.2f}")
    groups = {
        "all": (f"Accuracy in %, all {len(names)} convolutions of the blocks swapped", names, ways),
        "inner": (
            "Accuracy in %, the first convolution of each block swapped",
            [name for name in names if name.endswith("conv1")],
            inner,
        ),
    }
    tables, figures = [], dict[str, Any]()
    for group, (title, some, starts) in groups.items():
        outcomes = {
            name: judged(name, start, original, some, training, test, options.seeds) for name, start in starts.items()
        }
        if not outcomes:
            continue
        tables.append(Table(title, columns, [as_it_was, *(one.row(name) for name, one in outcomes.items())]))
        figures[group] = {
            name: {"right": one.right, "mmacs": one.mmacs, "ms": one.ms} for name, one in outcomes.items()
        }
        if group == "all":
            rows = [(stage, *beats_others(outcomes, index)) for index, stage in enumerate(STAGES)]
            tables.append(
                bars(*((f"closed form, {stage}", said, "above random and copied", met) for stage, said, met in rows))
            )
    figures["original"] = {"right": at_first, "mmacs": mmacs, "ms": ms}
    publish("ghost_swap", tables, figures, options.output, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Net-Trim against magnitude pruning at equal non-zeros per layer, without fine-tuning.

    python benchmarks/net_trim_networks.py [--quick] [--workers N] [-o RESULT.json]

A LeNet-like network trained here on the digits of scikit-learn, and ResNet-20 with published weights on images of CIFAR-10
(benchmarks/cifar10_resnet20.py), whose first 3,000 images prune and whose other 1,000 judge; of the digits every fourth image
judges. The zeros are shared out by ERK, so that small layers keep more, or are the same in all layers; magnitude pruning
keeps, layer by layer, as many of the largest weights as Net-Trim left, and all biases. Both are judged with the normalisation
statistics that they came with and with statistics measured anew on the pruning images, and count by the better of the two.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import cifar10_resnet20
import torch
from harness import Table, bars, publish
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.core.model import Model, Preprocessing
from edgekit.devices.target import parse_target
from edgekit.networks.layers import batches, recalibrate, run
from edgekit.passes.contract import Context, Samples
from edgekit.passes.net_trim import Mode, NetTrim, Spread

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RECIPES = {
    "net-trim": NetTrim(recalibrate=False, spread=Spread.ERK),
    "same in all": NetTrim(recalibrate=False),
    "no refit": NetTrim(recalibrate=False, spread=Spread.ERK, refit=False),
    "paper's norm": NetTrim(recalibrate=False, spread=Spread.ERK, reweightings=0),
    "parallel": NetTrim(recalibrate=False, spread=Spread.ERK, mode=Mode.PARALLEL),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A network, what prunes it, and what judges it."""

    module: fx.GraphModule
    input_shape: tuple[int, ...]
    pruning: Samples
    judging: Samples


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Accuracies as they are and recalibrated."""

    network: str
    recipe: str
    sparsity: float
    net_trim: tuple[float, float]
    magnitude: tuple[float, float]
    certified: str
    seconds: float


class LeNet(nn.Module):
    """`x_NCHW` (N, 1, 16, 16) -> logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.body(x_NCHW)
        return logits_NK


def lenet_on_digits() -> Case:
    """Trained for 12 epochs, which takes seconds."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x_NCHW = torch.from_numpy(digits.images).float()[:, None] / 16
    x_NCHW = F.interpolate(x_NCHW, scale_factor=2, mode="bilinear")
    y_N = torch.from_numpy(digits.target).long()
    judged_N = torch.arange(len(y_N)) % 4 == 0
    pruning = Samples(x_N=x_NCHW[~judged_N], y_N=y_N[~judged_N])
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LeNet()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(12):
        for some in torch.randperm(len(pruning), generator=generator).split(32):
            optimizer.zero_grad()
            F.cross_entropy(network(pruning.x_N[some]), y_N[~judged_N][some]).backward()
            optimizer.step()
    return Case(
        module=fx.symbolic_trace(network.eval()),
        input_shape=(1, 16, 16),
        pruning=pruning,
        judging=Samples(x_N=x_NCHW[judged_N], y_N=y_N[judged_N]),
    )


def resnet20() -> Case:
    learning, judging = cifar10_resnet20.images()
    return Case(
        module=with_relu_modules(fx.symbolic_trace(cifar10_resnet20.resnet20())),
        input_shape=(3, 32, 32),
        pruning=Samples(x_N=learning.x_NCHW, y_N=learning.y_N),
        judging=Samples(x_N=judging.x_NCHW, y_N=judging.y_N),
    )


CASES = {"LeNet on digits": lenet_on_digits, "ResNet-20": resnet20}


def with_relu_modules(module: fx.GraphModule) -> fx.GraphModule:
    """The functional ReLUs of the network as modules, as importers have them."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target is F.relu:
            module.add_submodule(f"{node.name}_module", nn.ReLU())
            with module.graph.inserting_before(node):
                call = module.graph.call_module(f"{node.name}_module", (node.args[0],))
            node.replace_all_uses_with(call)
            module.graph.erase_node(node)
    module.recompile()
    return module


def by_magnitude(original: fx.GraphModule, masks: dict[str, Tensor]) -> fx.GraphModule:
    """As many weights of each layer as the masks keep: the largest."""
    pruned = copy.deepcopy(original)
    with torch.no_grad():
        for name, parameter in pruned.named_parameters():
            if name in masks and name.endswith("weight"):
                kept = int(masks[name].sum())
                order = parameter.abs().flatten().argsort(descending=True, stable=True)
                parameter.view(-1)[order[kept:]] = 0
    return pruned


def accuracy(module: nn.Module, samples: Samples) -> float:
    assert samples.y_N is not None
    return float((run(module, samples.x_N).argmax(1) == samples.y_N).double().mean())


def accuracies(module: fx.GraphModule, case: Case) -> tuple[float, float]:
    """As it is, and with its normalisation recalibrated on the pruning images."""
    as_it_is = accuracy(module, case.judging)
    again = copy.deepcopy(module)
    recalibrate(again, batches(case.pruning.x_N[:1000], 250))
    return as_it_is, accuracy(again, case.judging)


def pruned_both_ways(job: tuple[str, str, float], *, samples: int, images: int) -> Row:
    torch.set_num_threads(1)
    network, recipe, sparsity = job
    case = CASES[network]()
    model = Model(
        module=case.module,
        input_shape=case.input_shape,
        labels=(),
        preprocessing=Preprocessing(height=case.input_shape[1], width=case.input_shape[2]),
        operators=(),
        output_range=None,
    )
    context = Context(
        original=model,
        target=parse_target("rpi4"),
        latency_ms=lambda _operators: 0.0,
        calibration=Samples(x_N=case.pruning.x_N),
        judging=case.judging,
    )
    pass_ = replace(RECIPES[recipe], sparsity=sparsity, samples=samples, images=images)
    started = time.monotonic()
    result = pass_(model, context)
    seconds = time.monotonic() - started
    assert isinstance(result.model.module, fx.GraphModule)
    certified = sum(row.cells["certificate"] == "yes" for row in result.layers)
    row = Row(
        network=network,
        recipe=recipe,
        sparsity=sparsity,
        net_trim=accuracies(result.model.module, case),
        magnitude=accuracies(by_magnitude(case.module, dict(result.model.masks)), case),
        certified=f"{certified} of {len(result.layers)}",
        seconds=seconds,
    )
    print(row, file=sys.stderr, flush=True)
    return row


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def table(network: str, rows: Sequence[Row], full: float) -> Table:
    return Table(
        f"{network}: accuracy in %, unpruned {percent(full)}; as it is / recalibrated",
        ("recipe", "sparsity", "net-trim", "magnitude", "certified layers", "s"),
        [
            (
                row.recipe,
                f"{row.sparsity:.0%}",
                " / ".join(map(percent, row.net_trim)),
                " / ".join(map(percent, row.magnitude)),
                row.certified,
                f"{row.seconds:.0f}",
            )
            for row in rows
            if row.network == network
        ],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples, two sparsities, the digits alone")
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--sparsities", nargs="+", type=float, default=list(SPARSITIES))
    parser.add_argument("--samples", type=int, default=NetTrim().samples)
    parser.add_argument("--images", type=int, default=NetTrim().images)
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/net_trim_networks.json")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.sparsities, options.recipes = ["LeNet on digits"], [0.5, 0.9], ["net-trim"]
        options.samples, options.images = 1000, 200
    jobs = [*product(options.networks, options.recipes, options.sparsities)][::-1]
    work = partial(pruned_both_ways, samples=options.samples, images=options.images)
    if options.workers > 1:
        with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
            rows = list(pool.map(work, jobs))[::-1]
    else:
        rows = list(map(work, jobs))[::-1]
    tables, judged = [], []
    for network in options.networks:
        case = CASES[network]()
        tables.append(table(network, rows, accuracy(case.module, case.judging)))
        judged += [
            (
                f"{network}, {row.sparsity:.0%} zeros: Net-Trim against magnitude, each at its better",
                f"{percent(max(row.net_trim))} against {percent(max(row.magnitude))} %",
                "better",
                max(row.net_trim) > max(row.magnitude),
            )
            for row in rows
            if row.network == network and row.recipe == "net-trim"
        ]
    publish(
        "net_trim_networks",
        [*tables, bars(*judged)],
        {"rows": [asdict(row) for row in rows]},
        options.output,
        write=not options.quick,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

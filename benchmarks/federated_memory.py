"""What a round of training costs a client: memory, multiply-accumulates and time, dense FedAvg beside sparse FedTiny.

    python benchmarks/federated_memory.py [--batch N] [--steps N] [--networks NAME ...] [--quick] [-o RESULT.json]

Each measurement is a process of its own with one thread: first the resident set above what it was before the network was made
(after a warm-up of the libraries), then, in another one, the most bytes of live tensors. Dense FedAvg is torch's own training of
the same network with the same optimizer and mini-batch. A sparse client receives the kept weights and never holds a dense one;
it takes each mini-batch in parts, the largest for which `peak_bytes` foretells at most the share of the dense peak that is the
bar. Where a part is less than the mini-batch, batch normalisation is of the part: `docs/sparse-training.md`.
How many weights a layer keeps is by ERK, as far as the bar for multiply-accumulates allows, then towards one density for all.
The images are noise: figures do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from federated_networks import NETWORKS, SHAPE, network
from harness import Table, bars, options_of, publish
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from edgekit.pruning.candidates import Draws, counts_within, macs_of, uses_of
from edgekit.pruning.masked_training import train_masked
from edgekit.pruning.masks import Masks, counts_of, erk_shares, kept_in_total, magnitude_masks, prunable
from edgekit.pruning.progressive import Sparse, changes, largest_gradients_beside
from edgekit.pruning.sparse_training.memory import LiveBytes, peak_bytes
from edgekit.pruning.sparse_training.network import SparseNetwork
from edgekit.pruning.sparse_training.training import kept_weights, train_kept
from edgekit.pruning.units import units_of

DENSITIES = (0.05, 0.01)
BAR_DENSITY = 0.05
BAR_MACS, BAR_MEMORY = 0.1, 0.15
ADJUSTED = 0.15
"""Share of a unit's kept weights that an adjustment exchanges at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """Of one step, and of an adjustment of the largest unit by one part of a mini-batch."""

    resident_bytes: int
    live_bytes: int
    macs: int
    seconds: float
    adjustment_bytes: int = 0
    adjustment_macs: int = 0


def memory_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def step(batch: int, part: int) -> Callable[[nn.Module], Iterator[Tensor]]:
    def parts(module: nn.Module) -> Iterator[Tensor]:
        for _ in range(0, batch, part):
            x_NCHW, y_N = torch.randn(part, *SHAPE), torch.randint(10, (part,))
            yield F.cross_entropy(module(x_NCHW), y_N) * (part / batch)

    return parts


def measure(name: str, kept_file: Path | None, batch: int, part: int, steps: int, *, live: bool) -> Measurement:
    """In this process: of the dense network, or of the sparse one with the weights of a file."""
    torch.set_num_threads(1)
    warm_up()
    before = memory_kb("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident set is counted from here on
    meter = LiveBytes()
    if live:
        meter.__enter__()
    seconds: list[float] = []

    def timed() -> Iterator[tuple[float, Callable[[nn.Module], Iterator[Tensor]]]]:
        for _ in range(steps):
            start = time.perf_counter()
            yield 0.1, step(batch, part)
            seconds.append(time.perf_counter() - start)

    if kept_file is None:
        train_masked(network(name, 0), {}, {}, timed())
        macs = adjustment_macs = adjustment_bytes = 0
    else:
        with torch.device("meta"):
            module = network(name, 0)
        tensors = load_file(kept_file)
        for rest in [one for one in tensors if not one.startswith(("index ", "value "))]:
            put(module, rest, tensors.pop(rest))
        weights = [one.removeprefix("value ") for one in tensors if one.startswith("value ")]
        kept = {one: Sparse(index_A=tensors[f"index {one}"], value_A=tensors[f"value {one}"]) for one in weights}
        sparse = SparseNetwork(module, kept)
        del kept, tensors
        train_kept(sparse, {}, timed())
        macs = sparse.executed_macs // steps
        peak, meter.peak = meter.peak, meter.live
        held = meter.live
        adjustment_macs = adjust(sparse, part)
        adjustment_bytes = meter.peak - held
        meter.peak = max(peak, meter.peak)
    resident = 1024 * (memory_kb("VmHWM:") - before)
    if live:
        meter.__exit__(None, None, None)
    return Measurement(
        resident_bytes=resident,
        live_bytes=meter.peak,
        macs=macs,
        seconds=min(seconds),
        adjustment_bytes=adjustment_bytes,
        adjustment_macs=adjustment_macs,
    )


def adjust(sparse: SparseNetwork, part: int) -> int:
    """The gradients beside the kept weights of the largest unit; the multiply-accumulates of that."""
    layers = sparse.sparse_layers()

    def size(unit: tuple[str, ...]) -> int:
        return sum(len(layers[one].weight) for one in unit)

    unit = max(units_of(fx.GraphModule(sparse, sparse.graph), tuple(layers)), key=size)
    counts = {one: changes(0, 1, len(layers[one].weight), alpha=2 * ADJUSTED) for one in unit}
    before = sparse.executed_macs

    def loss_of(module: nn.Module) -> Tensor:
        return F.cross_entropy(module(torch.randn(part, *SHAPE)), torch.randint(10, (part,)))

    with FlopCounterMode(display=False) as dense:
        largest_gradients_beside(sparse, {one: layers[one].positions() for one in unit}, counts, [loss_of])
    return sparse.executed_macs - before + dense.get_total_flops() // 2


def warm_up() -> None:
    """Libraries are loaded and their first buffers made, so that they are not counted as the client's."""
    small = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(), nn.Flatten(), nn.Linear(2048, 10)
    )
    masks = {name: torch.rand(one.shape) < 0.1 for name, one in prunable(small).items()}
    train_masked(small, {}, {}, [(0.1, step(2, 2))])
    sparse = SparseNetwork(small, kept_weights(small, masks))
    train_kept(sparse, {}, [(0.1, step(2, 2))])
    adjust(sparse, 2)


def put(module: nn.Module, name: str, value: Tensor) -> None:
    path, _, own = name.rpartition(".")
    owner = module.get_submodule(path)
    if own in owner._parameters:
        owner.register_parameter(own, nn.Parameter(value))
    else:
        owner.register_buffer(own, value)


def in_a_process(*arguments: object) -> Measurement:
    result = subprocess.run(
        [sys.executable, __file__, "--measure", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        # Large buffers go back to the system when they are freed, so that the resident set is what is in use.
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "65536",
        },
    )
    return Measurement(**json.loads(result.stdout.splitlines()[-1]))


def both(name: str, kept_file: Path | None, batch: int, part: int, steps: int) -> Measurement:
    rss = in_a_process(name, kept_file or "-", batch, part, steps, 0)
    live = in_a_process(name, kept_file or "-", batch, part, 1 + (kept_file is None), 1)
    return Measurement(
        resident_bytes=rss.resident_bytes,
        live_bytes=live.live_bytes,
        macs=rss.macs,
        seconds=rss.seconds,
        adjustment_bytes=live.adjustment_bytes,
        adjustment_macs=rss.adjustment_macs,
    )


def dense_macs(module: nn.Module, batch: int) -> int:
    """As torch counts them, forth; back, as many again for the weights and for all inputs but the network's own."""
    module.eval()
    first = next(layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        x_NCHW = torch.randn(1, *SHAPE)
        module(x_NCHW)
    with torch.no_grad(), FlopCounterMode(display=False) as counter_of_first:
        first(x_NCHW)
    return batch * (3 * counter.get_total_flops() - counter_of_first.get_total_flops()) // 2


def main() -> int:
    if sys.argv[1:2] == ["--measure"]:
        name, kept_file, *numbers = sys.argv[2:]
        batch, part, steps, live = map(int, numbers)
        path = None if kept_file == "-" else Path(kept_file)
        print(json.dumps(asdict(measure(name, path, batch, part, steps, live=bool(live)))))
        return 0
    parser = options_of(__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="of which the fastest is timed")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--quick", action="store_true", help="one step of the smallest network; no record")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.steps = options.networks[:1], 1
    with tempfile.TemporaryDirectory() as folder:
        report([compare(name, options, Path(folder)) for name in options.networks], options)
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    density: float
    part: int
    measured: Measurement
    foretold_bytes: int
    theoretical_macs: int
    shares_of_macs: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    network: str
    weights: int
    dense: Measurement
    dense_foretold_bytes: int
    clients: list[Client]


def compare(name: str, options: argparse.Namespace, folder: Path) -> Comparison:
    module = fx.symbolic_trace(network(name, options.seed)).eval()
    weights = prunable(module)
    sizes = {one: weight.numel() for one, weight in weights.items()}
    uses = uses_of(module, tuple(weights), torch.zeros(1, *SHAPE))
    whole = sum(uses[one] * size for one, size in sizes.items())
    all_macs = dense_macs(module, options.batch)
    dense = both(name, None, options.batch, options.batch, options.steps)
    print(f"{name}: dense {dense}", file=sys.stderr)
    foretold = peak_bytes(module, SHAPE, options.batch)
    clients = []
    for density in DENSITIES:
        erk = erk_shares({one: tuple(weight.shape) for one, weight in weights.items()})
        total = kept_in_total(sizes.values(), density)
        # A hundredth less than the bar, for the first layer's backward pass is less of the dense sum.
        counts = counts_within(erk, sizes, uses, total, int(0.99 * BAR_MACS * whole))
        masks = magnitude_masks(weights, counts)
        kinds: dict[str, Masks] = {"ERK": magnitude_masks(weights, counts_of(erk, sizes, total)), "taken": masks}
        if sum(sizes.values()) < 10**6:
            kinds["synaptic flow"] = Draws.of(module, SHAPE, density).origins[0]
        part = next(
            part
            for part in (options.batch // 2**i for i in range(int(math.log2(options.batch)) + 1))
            if part == 1 or peak_bytes(module, SHAPE, part, kept=counts) <= BAR_MEMORY * 0.97 * foretold
        )
        path = folder / "kept.safetensors"
        kept = kept_weights(module, masks)
        rest = {one: value for one, value in module.state_dict().items() if one not in kept}
        save_file(
            {
                **{f"index {one}": value.index_A for one, value in kept.items()},
                **{f"value {one}": value.value_A for one, value in kept.items()},
                **rest,
            },
            path,
        )
        first = next(iter(weights))
        client = Client(
            density=density,
            part=part,
            measured=both(name, path, options.batch, part, options.steps),
            foretold_bytes=peak_bytes(module, SHAPE, part, kept=counts),
            theoretical_macs=options.batch * (3 * macs_of(masks, uses) - counts[first] * uses[first]),
            shares_of_macs={kind: macs_of(some, uses) / whole for kind, some in kinds.items()},
        )
        print(f"{name}: {client}", file=sys.stderr)
        clients.append(client)
    return Comparison(
        network=name,
        weights=sum(sizes.values()),
        dense=Measurement(**{**asdict(dense), "macs": all_macs}),
        dense_foretold_bytes=foretold,
        clients=clients,
    )


def report(comparisons: list[Comparison], options: argparse.Namespace) -> None:
    rows: list[tuple[object, ...]] = []
    shares: list[tuple[object, ...]] = []
    met = []
    for one in comparisons:
        dense = one.dense
        rows.append(
            (
                one.network,
                "dense",
                options.batch,
                *(
                    f"{number / 1e6:.2f}"
                    for number in (dense.resident_bytes, dense.live_bytes, one.dense_foretold_bytes)
                ),
                "",
                f"{dense.macs / 1e9:.3f}",
                "",
                "",
                "1.0",
            )
        )
        for client in one.clients:
            found = client.measured
            rows.append(
                (
                    one.network,
                    f"{client.density:g}",
                    client.part,
                    *(f"{n / 1e6:.2f}" for n in (found.resident_bytes, found.live_bytes, client.foretold_bytes)),
                    f"{found.live_bytes / dense.live_bytes:.1%}",
                    f"{found.macs / 1e9:.3f}",
                    f"{client.theoretical_macs / 1e9:.3f}",
                    f"{found.macs / dense.macs:.1%}",
                    f"{found.seconds / dense.seconds:.1f}",
                )
            )
            shares.append(
                (
                    one.network,
                    f"{client.density:g}",
                    *(
                        f"{client.shares_of_macs[kind]:.1%}" if kind in client.shares_of_macs else "-"
                        for kind in ("synaptic flow", "ERK", "taken")
                    ),
                    f"{found.adjustment_bytes / 1e6:.2f}",
                    f"{found.adjustment_macs / dense.macs:.2f}",
                )
            )
            if client.density == BAR_DENSITY:
                met += [
                    (f"{what}, {one.network}", f"{1 - share:.1%} less", f"{1 - bar:.0%} less", share <= bar)
                    for what, share, bar in (
                        ("MACs", found.macs / dense.macs, BAR_MACS),
                        ("live tensors", found.live_bytes / dense.live_bytes, BAR_MEMORY),
                        ("resident set", found.resident_bytes / dense.resident_bytes, BAR_MEMORY),
                    )
                ]
    columns = (
        "",
        "density",
        "part",
        "MB resident",
        "MB live",
        "MB foretold",
        "of dense",
        "GMACs",
        "theoretical",
        "of dense",
        "x time",
    )
    kinds = ("", "density", "synaptic flow", "ERK", "taken", "MB of an adjustment", "its MACs, in dense steps")
    tables = [
        Table(f"A training step of {options.batch} samples", columns, rows),
        Table("Share of the dense MACs by masks, and what an adjustment needs beside the network", kinds, shares),
        bars(*met),
    ]
    figures = {"batch": options.batch, "comparisons": [asdict(one) for one in comparisons]}
    publish("federated_memory", tables, figures, options.output, write=not options.quick)


if __name__ == "__main__":
    sys.exit(main())

"""When zeros in fp32 weights are bytes, and when they are speed: a network that XNNPACK's sparse kernels fit, and one that not.

    python benchmarks/sparse_kernels.py [--pairs 200] [--board lab-qemu] [--quick] [-o RESULT.json]

Zeros are drawn at random: in the 1x1 convolutions of a MobileNetV1 of half width for 96 x 96, in the 3x3 convolutions of the
ResNet-20 for CIFAR-10 but the first. Weights are random, too: neither bytes nor time depend on their values.

Time is that of this machine's processor, one thread, the dense and the sparse file in turns, medians of the ratios of pairs.
Where `--board` names a board of the emulated lab (`edgekit lab up --device rpi4`), instructions there are counted as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cifar10_resnet20 import ResNet20
from harness import Table, bars, publish
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.core.model import Model
from edgekit.devices.boards.board import load_board
from edgekit.devices.boards.session import open_board
from edgekit.exporters.sparse import sparsify
from edgekit.exporters.sparse_kernels import sparse_obstacle
from edgekit.exporters.tflite import convert_fp32

SPARSITIES = (0.2, 0.5, 0.65, 0.7, 0.8, 0.9, 0.95)
QUICK = (0.5, 0.8)
WARM_UP = 10
BAR_DIFFERENCE = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Ratios are those of the sparse file to the dense one; `instructions` is None where no board counted."""

    network: str
    sparsity: float
    bytes_dense: int
    bytes_ratio: float
    time_ratio: float
    instructions: float | None
    largest_difference: float
    obstacle: str | None


class MobileNetV1(nn.Module):
    """`x_NCHW` (N, 3, 96, 96) -> logits (N, 10): arXiv 1704.04861, half width, the last stride left out."""

    def __init__(self) -> None:
        super().__init__()
        channels = 16
        layers = [self._layer(3, channels, kernel=3, stride=2)]
        for wider, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *[(256, 1)] * 5):
            layers.append(self._layer(channels, channels, kernel=3, stride=stride, groups=channels))
            layers.append(self._layer(channels, wider, kernel=1))
            channels = wider
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, 10)

    def _layer(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.head(self.features(x_NCHW).mean((2, 3)))
        return logits_NK


def networks() -> Iterator[tuple[str, Callable[[], nn.Module], int, tuple[int, int]]]:
    """Name, maker, side of the input, and the kernel of the convolutions in which zeros are drawn."""
    yield "MobileNetV1", MobileNetV1, 96, (1, 1)
    yield "ResNet-20", ResNet20, 32, (3, 3)


def dense_file(make: Callable[[], nn.Module], side: int, kernel: tuple[int, int], sparsity: float, seed: int) -> bytes:
    torch.manual_seed(seed)
    module = make().eval()
    draw = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == kernel and layer.groups == 1 and layer.in_channels > 3:
            zeros = torch.randperm(layer.weight.numel(), generator=draw)[: round(sparsity * layer.weight.numel())]
            layer.weight.data.view(-1)[zeros] = 0
    model = Model(
        module=torch.fx.symbolic_trace(module),
        input_shape=(3, side, side),
        labels=(),
        preprocessing=None,
        operators=(),
        output_range=None,
    )
    return convert_fp32(model)


class Runner:
    """One file in this process, on one thread."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        (self._given,), (self._result,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()

    def __call__(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """The output, and the seconds it took."""
        self._interpreter.set_tensor(self._given["index"], x)
        start = time.perf_counter()
        self._interpreter.invoke()
        seconds = time.perf_counter() - start
        return np.array(self._interpreter.get_tensor(self._result["index"])), seconds


def compared(dense: bytes, sparse: bytes, side: int, pairs: int, seed: int) -> tuple[float, float]:
    """The median ratio of times, and the largest difference of an output."""
    draw = np.random.default_rng(seed)
    in_dense, in_sparse = Runner(dense), Runner(sparse)
    ratios, differences = [], []
    for number in range(WARM_UP + pairs):
        x_NHWC = draw.random((1, side, side, 3), dtype=np.float32)
        if number % 2:  # whoever comes second finds the caches warm
            (z, sparse_s), (y, dense_s) = in_sparse(x_NHWC), in_dense(x_NHWC)
        else:
            (y, dense_s), (z, sparse_s) = in_dense(x_NHWC), in_sparse(x_NHWC)
        ratios.append(sparse_s / dense_s)
        differences.append(float(np.abs(y - z).max()))
    return float(np.median(ratios[WARM_UP:])), max(differences)


def instructions(board: str, content: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        with open_board(load_board(board)) as session:
            return session.count(path).executed["total"]


def rows(options: argparse.Namespace) -> Iterator[Row]:
    for name, make, side, kernel in networks():
        counted = None
        for sparsity in QUICK if options.quick else SPARSITIES:
            dense = dense_file(make, side, kernel, sparsity, options.seed)
            sparse = sparsify(dense)
            time_ratio, difference = compared(dense, sparse, side, options.pairs, options.seed)
            if options.board:
                counted = counted or instructions(options.board, dense)  # of a dense file whatever the weights are
            yield Row(
                network=name,
                sparsity=sparsity,
                bytes_dense=len(dense),
                bytes_ratio=len(sparse) / len(dense),
                time_ratio=time_ratio,
                instructions=instructions(options.board, sparse) / counted if counted else None,
                largest_difference=difference,
                obstacle=sparse_obstacle(sparse),
            )
            print(f"{name} {sparsity:.0%} done", file=sys.stderr, flush=True)


def table(found: list[Row], board: str | None) -> Table:
    return Table(
        "The sparse file to the dense one",
        ("network", "zeros", "bytes", "time here", f"instructions on {board or 'no board'}", "sparse kernels on Arm"),
        [
            (
                row.network,
                f"{row.sparsity:.0%}",
                f"{row.bytes_ratio:.3f}",
                f"{row.time_ratio:.3f}",
                "" if row.instructions is None else f"{row.instructions:.3f}",
                "yes" if row.obstacle is None else "no",
            )
            for row in found
        ],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--board", help="one of the emulated lab, to count instructions")
    parser.add_argument("--quick", action="store_true", help="two sparsities of each network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/sparse_kernels.json")
    options = parser.parse_args()
    found = list(rows(options))
    reasons = dict.fromkeys((row.network, row.obstacle) for row in found if row.obstacle)
    difference = max(row.largest_difference for row in found)
    largest = max(row.bytes_ratio for row in found)
    figures: dict[str, Any] = {"rows": [asdict(row) for row in found], "board": options.board, "pairs": options.pairs}
    publish(
        "sparse_kernels",
        (
            table(found, options.board),
            Table("Why no sparse kernels", ("network", "reason"), list(reasons)),
            bars(
                ("outputs apart at most", f"{difference:.1g}", f"{BAR_DIFFERENCE:.0e}", difference <= BAR_DIFFERENCE),
                ("largest file to the dense one", f"{largest:.3f}", "1.000", largest <= 1),
            ),
        ),
        figures,
        options.output,
        write=not options.quick,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

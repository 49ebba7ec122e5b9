"""Exports random networks and compares the files with edgekit.devices.size.

    python benchmarks/file_size.py [--runtime RUNTIME] [-n NETWORKS] [-o RESULT.json]

Half of the networks give the overhead constants (bytes of the file that are no parameters, metadata included, by
nonnegative least squares), the other half judges them; the constants printed are those of edgekit/devices/size.py.
"""

from __future__ import annotations

import argparse
import random
import string
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from edgekit.core.model import Model, Preprocessing
from edgekit.core.operators import Operator, OperatorKind
from edgekit.core.operators import Tensor as Activation
from edgekit.core.records import write_json
from edgekit.devices.device import load_device
from edgekit.devices.precision import Precision
from edgekit.devices.size import file_size_bytes, parameter_bytes
from edgekit.devices.target import parse_target
from edgekit.exporters.exporter import exporter_for

IMAGE_SIZE = 32
FEATURES = ("fixed", "filter")
DEVICES = {Precision.INT8: "rpi4", Precision.FP32: "rpi4", Precision.FP16: "rpi5"}


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.body(x_NCHW)


class GlobalMean(nn.Module):
    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.mean((2, 3))


@dataclass(kw_only=True)
class Sketch:
    """A network under construction and what it executes; activations, on which no file depends, have one element."""

    modules: list[nn.Module] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def record(self, kind: OperatorKind, *, weights: int = 0, channels: int = 0, stride: int = 1) -> None:
        one = Activation(name=f"t{len(self.operators)}", elements=1)
        biases = channels if weights else 0
        self.operators.append(
            Operator(
                name=one.name,
                kind=kind,
                inputs=(),
                output=one,
                weights=weights,
                biases=biases,
                channels=channels,
                stride=stride,
            )
        )

    def conv(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        kind = OperatorKind.DEPTHWISE if groups > 1 else OperatorKind.CONV
        self.record(kind, weights=conv.weight.numel(), channels=outputs, stride=stride)
        return conv


def random_model(seed: int) -> Model:
    """Stem, 3 to 9 fused or inverted blocks, head: 32 x 32 RGB -> 5 to 43 probabilities."""
    draw = random.Random(seed)  # noqa: S311
    sketch = Sketch()
    channels = draw.choice((8, 16, 24))
    layers: list[nn.Module] = [sketch.conv(3, channels, kernel=3, stride=2), nn.ReLU()]
    strides = [2] * draw.choice((1, 2)) + [1] * draw.randint(2, 7)
    draw.shuffle(strides)
    for stride in strides:
        outputs = channels if stride == 1 else channels * 2
        hidden = draw.choice((8, 16, 32, 64, 96, 144))
        if draw.random() < 0.5:
            body = [
                sketch.conv(channels, hidden, kernel=3, stride=stride),
                nn.ReLU(),
                sketch.conv(hidden, outputs, kernel=1),
            ]
        else:
            body = [
                sketch.conv(channels, hidden, kernel=1),
                nn.ReLU(),
                sketch.conv(hidden, hidden, kernel=3, stride=stride, groups=hidden),
                nn.ReLU(),
                sketch.conv(hidden, outputs, kernel=1),
            ]
        block: nn.Module = nn.Sequential(*body)
        if outputs == channels:
            block = Residual(block)
            sketch.record(OperatorKind.ADD)
        layers.append(block)
        channels = outputs
    labels = random_labels(draw.randint(5, 43), draw)
    linear = nn.Linear(channels, len(labels))
    sketch.record(OperatorKind.POOL)
    sketch.record(OperatorKind.DENSE, weights=linear.weight.numel(), channels=len(labels))
    sketch.record(OperatorKind.OTHER)
    network = nn.Sequential(*layers, GlobalMean(), linear, nn.Softmax(dim=-1))
    return Model(
        module=network.eval(),
        input_shape=(3, IMAGE_SIZE, IMAGE_SIZE),
        labels=labels,
        preprocessing=Preprocessing(height=IMAGE_SIZE, width=IMAGE_SIZE),
        operators=tuple(sketch.operators),
        provenance={"supernet": "signs43", "genotype": "ff.0f.3f.07.ff.00.1f", "task": "a random task of some words"},
    )


def random_labels(count: int, draw: random.Random) -> tuple[str, ...]:
    return tuple("".join(draw.choices(string.ascii_lowercase, k=draw.randint(4, 20))) for _ in range(count))


def precisions_of(runtime: str) -> tuple[Precision, ...]:
    return tuple(one for one, device in DEVICES.items() if one in load_device(device).runtime(runtime).precisions)


def exported_bytes(model: Model, runtime: str) -> dict[Precision, int]:
    x_NHWC = np.random.default_rng(0).random((1, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.float32)
    found = {}
    for precision in precisions_of(runtime):
        target = parse_target(f"{DEVICES[precision]}:{runtime}-{precision}")
        with tempfile.TemporaryDirectory() as folder:
            made = exporter_for(runtime).export(model, target=target, calibration_N=x_NHWC, folder=Path(folder))
        found[precision] = made.size_bytes
    return found


def feature_row(operators: tuple[Operator, ...]) -> tuple[int, int]:
    return 1, sum(operator.weights > 0 for operator in operators)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=16, help="number of networks")
    parser.add_argument("--runtime", default="tflite", help="tflite, or another one that there is an exporter for")
    parser.add_argument("-o", "--output", type=Path, help="default: results/<runtime>_file_size.json")
    options = parser.parse_args()
    runtime: str = options.runtime
    torch.manual_seed(0)
    models = [random_model(seed) for seed in range(options.n)]
    networks = [model.operators for model in models]
    measured = [exported_bytes(model, runtime) for model in models]
    rows = np.array([feature_row(operators) for operators in networks], dtype=float)
    fitted, judged = np.arange(0, options.n, 2), np.arange(1, options.n, 2)
    record: dict[str, object] = {"schema_version": 1, "networks": options.n, "image_size": IMAGE_SIZE}
    for precision in precisions_of(runtime):
        actual = np.array([sizes[precision] for sizes in measured], dtype=float)
        parameters = np.array(
            [sum(parameter_bytes(operator, precision, runtime) for operator in operators) for operators in networks],
            dtype=float,
        )
        constants, _ = nnls(rows[fitted], (actual - parameters)[fitted])
        held_out = np.abs((rows @ constants + parameters) / actual - 1)[judged]
        shipped = np.abs([file_size_bytes(operators, precision, runtime) for operators in networks] / actual - 1)
        overhead = dict(zip(FEATURES, constants.round().astype(int).tolist(), strict=True))
        print(
            f"{precision:5} {actual.min() / 1000:4.0f} to {actual.max() / 1000:4.0f} kB, "
            f"{1 - (parameters / actual).mean():4.0%} no parameters | "
            f"held-out error mean {held_out.mean():.1%}, max {held_out.max():.1%} | "
            f"size.py mean {shipped.mean():.1%}, max {shipped.max():.1%} | "
            + ", ".join(f"{name} {value}" for name, value in overhead.items())
        )
        record[precision] = {
            "size_bytes": actual.astype(int).tolist(),
            "parameter_share": float((parameters / actual).mean()),
            "overhead_bytes": overhead,
            "held_out_error": {"mean": float(held_out.mean()), "max": float(held_out.max())},
            "size_py_error": {"mean": float(shipped.mean()), "max": float(shipped.max())},
        }
    output = options.output or Path(__file__).parent / "results" / f"{runtime}_file_size.json"
    write_json(output, record)


if __name__ == "__main__":
    main()

"""Exports random networks to .tflite and compares the files with edgekit.devices.size.

    python benchmarks/tflite_file_size.py [-o RESULT.json]

Half of the networks give the overhead constants (bytes of the file that are no parameters, nonnegative least squares), the other half
judges them; the constants printed are those to enter in edgekit/devices/size.py.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from edgekit.core.operators import Operator, OperatorKind
from edgekit.core.operators import Tensor as Activation
from edgekit.core.records import write_json
from edgekit.devices.precision import Precision
from edgekit.devices.size import file_size_bytes, parameter_bytes

IMAGE_SIZE = 32
FEATURES = ("fixed", "filter", "other")


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
    """A network under construction and what it executes. Sizes do not depend on activations: they are left at one element."""

    modules: list[nn.Module] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def record(self, kind: OperatorKind, *, weights: int = 0, channels: int = 0, stride: int = 1) -> None:
        one = Activation(name=f"t{len(self.operators)}", elements=1)
        biases = channels if weights else 0
        self.operators.append(
            Operator(
                name=one.name, kind=kind, inputs=(), output=one, weights=weights, biases=biases, channels=channels, stride=stride
            )
        )

    def conv(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        kind = OperatorKind.DEPTHWISE if groups > 1 else OperatorKind.CONV
        self.record(kind, weights=conv.weight.numel(), channels=outputs, stride=stride)
        return conv


def random_network(seed: int) -> tuple[nn.Module, tuple[Operator, ...]]:
    """Stem, 3 to 9 fused or inverted blocks, head: 32 x 32 RGB -> 5 to 43 probabilities."""
    draw = random.Random(seed)
    sketch = Sketch()
    channels = draw.choice((8, 16, 24))
    layers: list[nn.Module] = [sketch.conv(3, channels, kernel=3, stride=2), nn.ReLU()]
    strides = [2] * draw.choice((1, 2)) + [1] * draw.randint(2, 7)
    draw.shuffle(strides)
    for stride in strides:
        outputs = channels if stride == 1 else channels * 2
        hidden = draw.choice((8, 16, 32, 64, 96, 144))
        if draw.random() < 0.5:
            body = [sketch.conv(channels, hidden, kernel=3, stride=stride), nn.ReLU(), sketch.conv(hidden, outputs, kernel=1)]
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
    labels = draw.randint(5, 43)
    linear = nn.Linear(channels, labels)
    sketch.record(OperatorKind.POOL)
    sketch.record(OperatorKind.DENSE, weights=linear.weight.numel(), channels=labels)
    sketch.record(OperatorKind.OTHER)
    network = nn.Sequential(*layers, GlobalMean(), linear, nn.Softmax(dim=-1))
    return network.eval(), tuple(sketch.operators)


def exported_bytes(network: nn.Module, folder: Path) -> dict[Precision, int]:
    """Sizes of the fp32 file and of the int8 file made from it."""
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    sample_NCHW = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    paths = {precision: folder / f"{precision}.tflite" for precision in Precision}
    fp32 = str(paths[Precision.FP32])
    litert_torch.convert(network, (sample_NCHW,)).export(fp32)
    quantiser = quantizer.Quantizer(fp32, recipe.static_wi8_ai8())
    statistics = quantiser.calibrate({"serving_default": [{"args_0": sample_NCHW.numpy()}]})
    quantiser.quantize(statistics).export_model(str(paths[Precision.INT8]), overwrite=True)
    return {precision: path.stat().st_size for precision, path in paths.items()}


def feature_row(operators: tuple[Operator, ...]) -> list[int]:
    filters = [operator for operator in operators if operator.weights]
    return [1, len(filters), len(operators) - len(filters)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=16, help="number of networks")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "tflite_file_size.json")
    options = parser.parse_args()
    torch.manual_seed(0)
    networks = [random_network(seed) for seed in range(options.n)]
    with tempfile.TemporaryDirectory() as folder:
        measured = [exported_bytes(network, Path(folder)) for network, _ in networks]
    rows = np.array([feature_row(operators) for _, operators in networks], dtype=float)
    fitted, judged = np.arange(0, options.n, 2), np.arange(1, options.n, 2)
    record: dict[str, object] = {"schema_version": 1, "networks": options.n, "image_size": IMAGE_SIZE}
    for precision in Precision:
        actual = np.array([sizes[precision] for sizes in measured], dtype=float)
        parameters = np.array(
            [sum(parameter_bytes(operator, precision) for operator in operators) for _, operators in networks], dtype=float
        )
        constants, _ = nnls(rows[fitted], (actual - parameters)[fitted])
        held_out = np.abs((rows @ constants + parameters) / actual - 1)[judged]
        shipped = np.array([file_size_bytes(operators, precision) for _, operators in networks]) / actual - 1
        print(
            f"{precision}: files of {actual.min() / 1000:.0f} to {actual.max() / 1000:.0f} kB; "
            f"no parameters: {100 * (1 - parameters / actual).mean():.0f} % of the file; "
            f"held-out error mean {100 * held_out.mean():.1f} %, max {100 * held_out.max():.1f} %; "
            f"shipped constants mean {100 * np.abs(shipped).mean():.1f} %, max {100 * np.abs(shipped).max():.1f} %"
        )
        print("  constants:", ", ".join(f"{name}={value:.0f}" for name, value in zip(FEATURES, constants, strict=True)))
        record[precision] = {
            "size_bytes": actual.astype(int).tolist(),
            "parameter_share": float((parameters / actual).mean()),
            "overhead_bytes": dict(zip(FEATURES, constants.round().astype(int).tolist(), strict=True)),
            "held_out_error": {"mean": float(held_out.mean()), "max": float(held_out.max())},
            "shipped_error": {"mean": float(np.abs(shipped).mean()), "max": float(np.abs(shipped).max())},
        }
    write_json(options.output, record)


if __name__ == "__main__":
    main()

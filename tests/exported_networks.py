"""Small networks of the kinds edgekit builds, described by torch itself, and exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgekit.core.images import to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.core.operators import Operator, OperatorKind, Tensor
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.tflite import export

SIZE = 32


class Fused(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        hidden = 2 * channels_out
        self.first = nn.Conv2d(channels_in, hidden, 3, stride, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, channels_out, 1)
        self.keeps_shape = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(torch.relu(self.norm(self.first(x))))
        return x + y if self.keeps_shape else y


class Inverted(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        hidden = 3 * channels_in
        self.first = nn.Conv2d(channels_in, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 5, stride, 2, groups=hidden)
        self.project = nn.Conv2d(hidden, channels_out, 1)
        self.keeps_shape = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(torch.relu(self.depthwise(torch.relu(self.first(x)))))
        return x + y if self.keeps_shape else y


class Classifier(nn.Module):
    """Softmax over all labels; where `groups` is given, a 0/1 matrix sums them into the outputs."""

    def __init__(self, labels: int, groups: torch.Tensor | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.Sequential(Fused(8, 8, 1), Fused(8, 16, 2), Inverted(16, 16, 1), Inverted(16, 24, 2))
        self.head = nn.Linear(24, labels)
        self.register_buffer("groups", groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.blocks(torch.relu(self.stem(x))).mean((2, 3))
        p = torch.softmax(self.head(y), -1)
        return p if self.groups is None else p @ self.groups


def describe(module: nn.Module, size: int = SIZE) -> tuple[Operator, ...]:
    """Convolutions and dense layers counted by torch itself while it runs."""
    operators: list[Operator] = []

    def record(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            positions = output[0, 0].numel() if output.ndim == 4 else 1
            depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
            convolution = OperatorKind.DEPTHWISE if depthwise else OperatorKind.CONV
            operators.append(
                Operator(
                    name=name,
                    kind=convolution if isinstance(layer, nn.Conv2d) else OperatorKind.DENSE,
                    inputs=(Tensor(name=f"{name}.x", elements=inputs[0].numel()),),
                    output=Tensor(name=name, elements=output.numel()),
                    macs=positions * layer.weight.numel(),
                    weights=layer.weight.numel(),
                    biases=layer.bias.numel(),
                    channels=output.shape[1],
                    kernel=layer.kernel_size[0] if isinstance(layer, nn.Conv2d) else 1,
                    stride=layer.stride[0] if isinstance(layer, nn.Conv2d) else 1,
                )
            )

        return hook

    layers = {n: layer for n, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    handles = [layer.register_forward_hook(record(name)) for name, layer in layers.items()]
    with torch.inference_mode():
        module(torch.zeros(1, 3, size, size))
    for handle in handles:
        handle.remove()
    if getattr(module, "groups", None) is not None:
        rows, columns = module.groups.shape
        operators.append(
            Operator(
                name="grouping",
                kind=OperatorKind.DENSE,
                inputs=(Tensor(name="softmax", elements=rows),),
                output=Tensor(name="grouping", elements=columns),
                macs=rows * columns,
                weights=rows * columns,
                channels=columns,
            )
        )
    return tuple(operators)


def pictures(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """Smooth patterns, each around a colour of its own, that never reach black or white."""
    rng = np.random.default_rng(seed)
    coarse = (rng.uniform(60, 190, (count, 3, 1, 1)) + rng.uniform(-30, 30, (count, 3, 5, 5))).astype(np.float32)
    smooth = nn.functional.interpolate(torch.from_numpy(coarse), SIZE, mode="bilinear").numpy()
    return smooth.transpose(0, 2, 3, 1).round().astype(np.uint8)


def make_model(labels: int, names: tuple[str, ...], preprocessing: Preprocessing, groups: Sequence[int] = ()) -> Model:
    """A network that tells colours apart; `groups`, if any, gives the output that each of its labels belongs to."""
    torch.manual_seed(7)
    module = Classifier(labels, nn.functional.one_hot(torch.tensor(groups)).float() if groups else None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine more threads wait for each other
    train(module, preprocessing)
    torch.set_num_threads(threads)
    return Model(
        module=module.eval(),
        input_shape=(3, preprocessing.height, preprocessing.width),
        labels=names,
        preprocessing=preprocessing,
        operators=describe(module),
        provenance={"supernet": "test", "genotype": "1-2-3"},
    )


def train(module: Classifier, preprocessing: Preprocessing) -> None:
    """The label of a picture is the nearest of as many colours."""
    pixels = pictures(512, seed=3)
    labels = module.head.out_features
    colours = np.random.default_rng(4).uniform(60, 190, (labels, 3))
    y = torch.from_numpy(np.linalg.norm(pixels.mean((1, 2))[:, None] - colours, axis=2).argmin(1))
    x_NCHW = torch.from_numpy(to_float(pixels, preprocessing)).permute(0, 3, 1, 2).contiguous()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for batch in torch.randperm(512).repeat(6).split(64):
        z = module.head(module.blocks(torch.relu(module.stem(x_NCHW[batch]))).mean((2, 3)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(z, y[batch]).backward()
        optimizer.step()


@dataclass(frozen=True, kw_only=True)
class Exported:
    model: Model
    int8: Artifact
    fp32: Artifact
    x_NHWC: npt.NDArray[np.float32]


def export_once(model: Model, folder: Path) -> Exported:
    calibration = to_float(pictures(64, seed=1), model.preprocessing)
    int8 = export(model, precision=Precision.INT8, calibration_N=calibration, folder=folder)
    assert int8.reference is not None
    x_NHWC = to_float(pictures(100, seed=2), model.preprocessing)
    return Exported(model=model, int8=int8, fp32=int8.reference, x_NHWC=x_NHWC)

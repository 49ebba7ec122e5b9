"""A network as a reader may have trained one: for pictures of three classes: code, weights, a .pt2 and an .onnx file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import nn

CODE = """\
from torch import nn


def small():
    layers = []
    for entering, leaving in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(entering, leaving, 3, 2, 1, bias=False), nn.BatchNorm2d(leaving), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3))
"""
"""my_networks.py: (N, 3, 32, 32) -> logits (N, 3)."""


def export_networks(folder: Path) -> None:
    """Trained on `folder/pictures` until it knows them."""
    (folder / "my_networks.py").write_text(CODE, encoding="utf-8")
    trained = _trained(folder / "pictures")
    x_NCHW = torch.zeros(2, 3, 32, 32)
    safetensors.torch.save_file(trained.state_dict(), folder / "net.safetensors")
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.export.save(torch.export.export(trained, (x_NCHW,), dynamic_shapes=({0: batch},)), folder / "net.pt2")
    torch.onnx.export(trained, (x_NCHW[:1],), folder / "net.onnx", dynamo=True, external_data=False, verbose=False)


def _trained(pictures: Path) -> nn.Module:
    classes = sorted(pictures.iterdir())
    files = [(path, label) for label, class_ in enumerate(classes) for path in sorted(class_.iterdir())]
    x_NHWC = np.stack([np.asarray(Image.open(path).resize((32, 32)), np.float32) / 255 for path, _ in files])
    x_NCHW, y_N = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2), torch.tensor([label for _, label in files])
    names: dict[str, Any] = {}
    exec(CODE, names)  # noqa: S102
    torch.manual_seed(0)
    model: nn.Module = names["small"]()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x_NCHW), y_N).backward()
        optimizer.step()
    return model.eval()

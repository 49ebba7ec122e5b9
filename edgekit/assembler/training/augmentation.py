"""Random changes of a batch that keep what a sign says: no mirroring."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def augment(x_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """float32 in [0, 1] -> the same, each image with its own shift, scale, tilt, light, blur, and noise."""
    n = len(x_NCHW)

    def uniform(low: float, high: float) -> Tensor:
        drawn = torch.rand(n, generator=generator) * (high - low) + low
        return drawn.to(x_NCHW.device)

    angle = uniform(-12, 12) * (math.pi / 180)
    scale_x, scale_y = uniform(0.82, 1.18), uniform(0.82, 1.18)
    shear = uniform(-0.15, 0.15)
    cos, sin = angle.cos(), angle.sin()
    affine = torch.stack(
        [
            torch.stack([cos * scale_x, (shear - sin) * scale_y, uniform(-0.16, 0.16)], 1),
            torch.stack([sin * scale_x, cos * scale_y, uniform(-0.16, 0.16)], 1),
        ],
        1,
    )
    grid = F.affine_grid(affine, list(x_NCHW.shape), align_corners=False)
    x_NCHW = F.grid_sample(x_NCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)

    blurred = F.avg_pool2d(F.pad(x_NCHW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = (uniform(-1.5, 0.9).clamp_min(0))[:, None, None, None]
    x_NCHW = torch.lerp(x_NCHW, blurred, blur)

    light = uniform(-0.6, 0.6).exp()[:, None, None, None]
    contrast = uniform(0.6, 1.4)[:, None, None, None]
    mean = x_NCHW.mean((1, 2, 3), keepdim=True)
    x_NCHW = ((x_NCHW - mean) * contrast + mean) * light
    noise = torch.randn(x_NCHW.shape, generator=generator).to(x_NCHW.device)
    # In proportion to the light: a fixed amount would drown the many dark pictures.
    return (x_NCHW + noise * mean * light * uniform(0, 0.12)[:, None, None, None]).clamp(0, 1)

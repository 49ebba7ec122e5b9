"""Random changes of a batch, each image with its own, that keep what it shows; and mixtures of neighbouring images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from edgekit.core.errors import BadInputError
from edgekit.core.names import did_you_mean

CHOICES: Final = 13
_SHARES: Final = ("stretch", "contrast", "saturation", "blur", "mix")


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """How far images are changed at most; 0 leaves alone.

    `scale`: pair of factors of the shown part's edge, drawn apart for width and height up to `stretch`; `shift`: of half the
    edge; `tilt`: degrees; `shear`: slope; `light`: exponent; `contrast`, `saturation`: share; `blur`: weight of a 3 x 3 mean;
    `noise`: standard deviation relative to the image's mean; `mirror`: left and right may be swapped; `mix`: share of
    batches whose images are blended (mixup, arXiv 1710.09412) or patched (CutMix, arXiv 1905.04899) with a neighbour.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = 0.0
    shift: float = 0.0
    tilt: float = 0.0
    shear: float = 0.0
    light: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    mirror: bool = False
    mix: float = 0.0

    @classmethod
    def from_toml(cls, table: Mapping[str, Any]) -> Augmentation:
        """Raises BadInputError for unknown keys and values outside their range."""
        names = [field.name for field in fields(cls)]
        for key, value in table.items():
            if key not in names:
                raise BadInputError(f'augmentation: unknown key "{key}"', hint=did_you_mean(key, names))
            if key == "scale":
                pair = value if isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) else [0, 0]
                fits, expected = 0 < pair[0] <= pair[1] < math.inf, "a pair of numbers above 0, the smaller first"
            elif key == "mirror":
                fits, expected = isinstance(value, bool), "true or false"
            else:
                most, expected = (1.0, "a number from 0 to 1") if key in _SHARES else (math.inf, "a number from 0")
                fits = _is_number(value) and 0 <= value <= most and value < math.inf
            if not fits:
                raise BadInputError(
                    f"augmentation: {key} = {value!r} must be {expected}", hint='see "Augmentation" in docs/training.md'
                )
        values: dict[str, Any] = {key: tuple(value) if key == "scale" else value for key, value in table.items()}
        return cls(**values)

    @property
    def in_place(self) -> Augmentation:
        """Without the changes that show objects larger, smaller or softer than pictures do in use."""
        return replace(self, scale=(1.0, 1.0), stretch=0.0, shift=0.0, tilt=0.0, shear=0.0, blur=0.0)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers in [0, 1) that `change` turns into n images' changes: shape (n, CHOICES)."""
        return torch.rand(n, CHOICES, generator=generator)

    def change(self, x_NCHW: Tensor, drawn_NR: Tensor) -> Tensor:
        """float32 in [0, 1] -> the same. What becomes of an image depends on its own row of the draw alone."""
        drawn_NR = drawn_NR.to(x_NCHW.device, non_blocking=True)
        x_NCHW = self._moved(x_NCHW, drawn_NR)
        if self.blur:
            blurred = F.avg_pool2d(F.pad(x_NCHW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            # Most images stay sharp.
            weight = self.blur * ((drawn_NR[:, 7] - 0.625) / 0.375).clamp_min(0)
            x_NCHW = torch.lerp(x_NCHW, blurred, _per_image(weight))
        if self.saturation:
            grey = x_NCHW.mean(1, keepdim=True)
            x_NCHW = torch.lerp(grey, x_NCHW, _per_image(1 + _between(drawn_NR[:, 8], self.saturation)))
        mean = x_NCHW.mean((1, 2, 3), keepdim=True)
        if self.contrast:
            x_NCHW = (x_NCHW - mean) * _per_image(1 + _between(drawn_NR[:, 10], self.contrast)) + mean
        light = _per_image(_between(drawn_NR[:, 9], self.light).exp())
        x_NCHW = x_NCHW * light
        if self.noise:
            # In proportion to the light: a fixed amount would drown the many dark pictures.
            amount = mean * light * _per_image(self.noise * drawn_NR[:, 11])
            x_NCHW = x_NCHW + _noise(x_NCHW, drawn_NR[:, 11]) * amount
        return x_NCHW.clamp(0, 1)

    def _moved(self, x_NCHW: Tensor, drawn_NR: Tensor) -> Tensor:
        if not (self.stretch or self.shift or self.tilt or self.shear or self.mirror or self.scale != (1.0, 1.0)):
            return x_NCHW
        low, high = self.scale
        scale = low + (high - low) * drawn_NR[:, 0]
        scale_x = scale * (1 + _between(drawn_NR[:, 1], self.stretch))
        scale_y = scale * (1 + _between(drawn_NR[:, 2], self.stretch))
        angle = _between(drawn_NR[:, 3], self.tilt) * (math.pi / 180)
        shear = _between(drawn_NR[:, 4], self.shear)
        # A part smaller than the image may lie anywhere inside it.
        shift_x = _between(drawn_NR[:, 5], 1.0) * (self.shift + (1 - scale_x).clamp_min(0))
        shift_y = _between(drawn_NR[:, 6], 1.0) * (self.shift + (1 - scale_y).clamp_min(0))
        swap = torch.where(drawn_NR[:, 12] < 0.5, -1.0, 1.0) if self.mirror else torch.ones_like(angle)
        cos, sin = angle.cos(), angle.sin()
        affine = torch.stack(
            [
                torch.stack([swap * cos * scale_x, (shear - sin) * scale_y, shift_x], 1),
                torch.stack([swap * sin * scale_x, cos * scale_y, shift_y], 1),
            ],
            1,
        )
        grid = F.affine_grid(affine, list(x_NCHW.shape), align_corners=False)
        return F.grid_sample(x_NCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Of each image's label and its neighbour's: `share` belongs to its own. Images 2k and 2k + 1 are neighbours."""

    share: float = 1.0

    @staticmethod
    def neighbours(y_N: Tensor) -> Tensor:
        return y_N.view(-1, 2, *y_N.shape[1:]).flip(1).flatten(0, 1)


def mix(x_NCHW: Tensor, drawn: tuple[float, float, float, float]) -> tuple[Tensor, Mixture]:
    """Images of an even batch mixed with their neighbours; `drawn` are four uniform numbers: kind, share, and place."""
    kind, amount, across, down = drawn
    share = 0.5 + 0.5 * amount
    other_NCHW = Mixture.neighbours(x_NCHW)
    if kind < 0.5:
        return torch.lerp(other_NCHW, x_NCHW, share), Mixture(share=share)
    size = x_NCHW.shape[-1]
    edge = round(size * math.sqrt(1 - share))
    left, top = round(across * (size - edge)), round(down * (size - edge))
    mixed_NCHW = x_NCHW.clone()
    mixed_NCHW[..., top : top + edge, left : left + edge] = other_NCHW[..., top : top + edge, left : left + edge]
    return mixed_NCHW, Mixture(share=1 - (edge / size) ** 2)


def _noise(x_NCHW: Tensor, drawn_N: Tensor) -> Tensor:
    """Normal, seeded image by image with all 24 bits of a uniform number: it does not depend on the images beside."""
    generator = torch.Generator(x_NCHW.device)
    noise_NCHW = torch.empty(x_NCHW.shape, device=x_NCHW.device)
    for noise_CHW, seed in zip(noise_NCHW, (drawn_N * 2**24).long().tolist(), strict=True):
        noise_CHW.normal_(generator=generator.manual_seed(seed))
    return noise_NCHW


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _between(drawn_N: Tensor, most: float) -> Tensor:
    return (2 * drawn_N - 1) * most


def _per_image(values_N: Tensor) -> Tensor:
    return values_N[:, None, None, None]

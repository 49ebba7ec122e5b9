"""Pictures that no camera took: optimised until the supernet's normalisation layers see the statistics of real ones.

The idea is DeepInversion's (arXiv 1912.08795): match mean and variance at every normalisation, ask for every label, and keep
the pictures smooth. They serve to calibrate a quantizer where the user has no pictures, and hold nobody's image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.blocks import ChannelNorm, CountNorm
from edgekit.supernet.resizing import resized
from edgekit.supernet.supernet import Supernet

STEPS = 400
BATCH = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Mean and variance, channel by channel, of the pictures, or of what one normalisation of the full supernet sees."""

    mean_C: Tensor
    var_C: Tensor

    @classmethod
    def of(cls, x_NCHW: Tensor) -> Moments:
        return cls(mean_C=x_NCHW.mean((0, 2, 3)), var_C=x_NCHW.var((0, 2, 3)))


@torch.no_grad()
def moments_of_images(supernet: Supernet, x_NCHW: Tensor) -> list[list[Moments]]:
    """For each image size the moments of many images (float32 in [0, 1]), then of each normalisation's input in order."""
    return [_merged([_seen(supernet, part, size)[0] for part in torch.split(x_NCHW, 500)]) for size in _sizes(supernet)]


def _merged(parts: list[list[Moments]]) -> list[Moments]:
    merged = []
    for layer in zip(*parts, strict=True):
        mean = torch.stack([moments.mean_C for moments in layer])
        second = torch.stack([moments.var_C for moments in layer]) + mean**2
        merged.append(Moments(mean_C=mean.mean(0), var_C=second.mean(0) - mean.mean(0) ** 2))
    return merged


def synthesise(
    supernet: Supernet, wanted: list[list[Moments]], *, seed: int, report: Callable[[int, int], None]
) -> Tensor:
    """`x_NCHW` uint8: BATCH pictures of the largest size, made from noise until they have the `wanted` moments at every size.

    At one size alone, the finest structure would be such that smaller copies of the pictures have less contrast than images have.
    """
    generator = torch.Generator().manual_seed(seed)
    size = supernet.spec.image_size
    coarse = torch.randn(BATCH, 3, size // 4, size // 4, generator=generator)
    noise = F.interpolate(coarse, size=(size, size), mode="bilinear")
    # Pictures differ in brightness far more than their parts do.
    light = torch.randn(BATCH, 1, 1, 1, generator=generator)
    pixel = wanted[-1][0]
    start = pixel.mean_C[:, None, None] + pixel.var_C.sqrt()[:, None, None] * (0.7 * noise + 0.7 * light)
    raw = torch.logit(start.clamp(0.02, 0.98)).requires_grad_(True)
    labels_N = torch.arange(BATCH) % supernet.spec.labels
    optimizer = torch.optim.Adam([raw], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        x_NCHW = raw.sigmoid()
        loss = 0.5 * _roughness(x_NCHW)
        for index in _sizes(supernet):
            moments, z_NK = _seen(supernet, x_NCHW, index)
            distances = [_distance(*pair) for pair in zip(moments, wanted[index], strict=True)]
            here = 0.3 * F.cross_entropy(z_NK, labels_N) + torch.stack(distances).sum()
            loss = loss + here / len(wanted)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        report(step + 1, STEPS)
    return (raw.detach().sigmoid() * 255).round().to(torch.uint8)


def _sizes(supernet: Supernet) -> range:
    return range(len(supernet.spec.image_sizes))


def _seen(supernet: Supernet, x_NCHW: Tensor, size: int) -> tuple[list[Moments], Tensor]:
    """(the moments of the pictures at the image size of this index and of all that is normalised, logits) in full."""
    spec = supernet.spec
    x_NCHW = resized(x_NCHW, spec.image_sizes[size]).contiguous(memory_format=torch.channels_last)
    seen = [Moments.of(x_NCHW)]
    norms = [module for module in supernet.modules() if isinstance(module, (ChannelNorm, CountNorm))]
    handles = [norm.register_forward_pre_hook(lambda _, inputs: seen.append(Moments.of(inputs[0]))) for norm in norms]
    try:
        z_NK = supernet(x_NCHW, spec.genotype((size, *spec.most_genes[1:])))
    finally:
        for handle in handles:
            handle.remove()
    return seen, z_NK


def _distance(moments: Moments, target: Moments) -> Tensor:
    scale = target.var_C.clamp_min(1e-6)
    means: Tensor = ((moments.mean_C - target.mean_C) ** 2 / scale).mean()
    deviations: Tensor = ((moments.var_C.clamp_min(0).sqrt() - target.var_C.sqrt()) ** 2 / scale).mean()
    return means + deviations


def _roughness(x_NCHW: Tensor) -> Tensor:
    across = (x_NCHW[..., 1:] - x_NCHW[..., :-1]).abs().mean()
    down = (x_NCHW[..., 1:, :] - x_NCHW[..., :-1, :]).abs().mean()
    return across + down

"""Pictures that no camera took: optimised until the supernet's normalisation layers see the statistics of real ones.

The idea is DeepInversion's (arXiv 1912.08795): match mean and variance at every normalisation, ask for every label, and keep
the pictures smooth. They serve to calibrate a quantizer where the user has no pictures, and hold nobody's image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.blocks import ChannelNorm, CountNorm
from edgekit.supernet.supernet import Supernet

STEPS = 400
BATCH = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Mean and variance, channel by channel, of what one normalisation of the full supernet sees."""

    mean_C: Tensor
    var_C: Tensor


def _record(supernet: Supernet, x_NCHW: Tensor) -> list[Moments]:
    seen: list[Moments] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        y_NCHW = inputs[0]
        seen.append(Moments(mean_C=y_NCHW.mean((0, 2, 3)), var_C=y_NCHW.var((0, 2, 3))))

    norms = [module for module in supernet.modules() if isinstance(module, (ChannelNorm, CountNorm))]
    handles = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        supernet(x_NCHW, supernet.spec.full)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@torch.no_grad()
def normalisation_statistics(supernet: Supernet, x_NCHW: Tensor) -> list[Moments]:
    """Moments over many images (float32 in [0, 1]) of each normalisation's input, in order of execution."""
    batches = [_record(supernet, batch) for batch in torch.split(x_NCHW, 500)]
    merged = []
    for layer in zip(*batches, strict=True):
        mean = torch.stack([moments.mean_C for moments in layer])
        second = torch.stack([moments.var_C for moments in layer]) + mean**2
        merged.append(Moments(mean_C=mean.mean(0), var_C=second.mean(0) - mean.mean(0) ** 2))
    return merged


def synthesise(
    supernet: Supernet, statistics: list[Moments], pixel: Moments, *, seed: int, report: Callable[[int, int], None]
) -> Tensor:
    """`x_NCHW` uint8: BATCH pictures, made from noise, statistics, and the mean and variance of pixels by colour."""
    generator = torch.Generator().manual_seed(seed)
    size = supernet.spec.image_size
    coarse = torch.randn(BATCH, 3, size // 4, size // 4, generator=generator)
    noise = F.interpolate(coarse, size=(size, size), mode="bilinear")
    # Pictures differ in brightness far more than their parts do.
    light = torch.randn(BATCH, 1, 1, 1, generator=generator)
    start = pixel.mean_C[:, None, None] + pixel.var_C.sqrt()[:, None, None] * (0.7 * noise + 0.7 * light)
    raw = torch.logit(start.clamp(0.02, 0.98)).requires_grad_(True)
    labels_N = torch.arange(BATCH) % supernet.spec.labels
    optimizer = torch.optim.Adam([raw], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        x_NCHW = raw.sigmoid()
        matched = _record_with_logits(supernet, x_NCHW.contiguous(memory_format=torch.channels_last))
        loss = 0.3 * F.cross_entropy(matched[1], labels_N) + 0.5 * _roughness(x_NCHW)
        here = [Moments(mean_C=x_NCHW.mean((0, 2, 3)), var_C=x_NCHW.var((0, 2, 3))), *matched[0]]
        for target, moments in zip([pixel, *statistics], here, strict=True):
            loss = loss + _distance(moments, target)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        report(step + 1, STEPS)
    return (raw.detach().sigmoid() * 255).round().to(torch.uint8)


def _record_with_logits(supernet: Supernet, x_NCHW: Tensor) -> tuple[list[Moments], Tensor]:
    logits: list[Tensor] = []
    handle = supernet.head.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    try:
        return _record(supernet, x_NCHW), logits[0]
    finally:
        handle.remove()


def _distance(moments: Moments, target: Moments) -> Tensor:
    scale = target.var_C.clamp_min(1e-6)
    means: Tensor = ((moments.mean_C - target.mean_C) ** 2 / scale).mean()
    deviations: Tensor = ((moments.var_C.clamp_min(0).sqrt() - target.var_C.sqrt()) ** 2 / scale).mean()
    return means + deviations


def _roughness(x_NCHW: Tensor) -> Tensor:
    across = (x_NCHW[..., 1:] - x_NCHW[..., :-1]).abs().mean()
    down = (x_NCHW[..., 1:, :] - x_NCHW[..., :-1, :]).abs().mean()
    return across + down

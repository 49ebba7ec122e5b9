"""Images at the size that a genotype asks for."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def resized(x_NCHW: Tensor, size: int) -> Tensor:
    """Square images at `size` x `size`: bilinear with antialias, as a picture is read from disk."""
    if x_NCHW.shape[-1] == size:
        return x_NCHW
    return F.interpolate(x_NCHW, (size, size), mode="bilinear", antialias=True, align_corners=False)

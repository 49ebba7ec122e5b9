"""How close outputs are to reference outputs. Shapes: N samples, K outputs; arrays of any shape (N, ...)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Outputs = npt.NDArray[np.float32]


def is_classifier(outputs: Outputs) -> bool:
    """Whether there is a top one: `N x K`, K at least 2."""
    return outputs.ndim == 2 and outputs.shape[1] >= 2


def agreement(outputs_NK: Outputs, reference_NK: Outputs, *, within: float = 0.0) -> float:
    """Share of samples whose top output is the reference's, or one that the reference rates lower by at most `within`."""
    chosen = np.take_along_axis(reference_NK, outputs_NK.argmax(axis=1)[:, None], axis=1)[:, 0]
    return float(np.mean(chosen >= reference_NK.max(axis=1) - within))


def cosine(a: Outputs, b: Outputs) -> float:
    wide_a, wide_b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    lengths = float(np.linalg.norm(wide_a)) * float(np.linalg.norm(wide_b))
    return float(wide_a @ wide_b) / max(lengths, 1e-30)


def reproduced(outputs: Outputs, reference: Outputs) -> float:
    """Share of the reference's variance about its mean over samples that the outputs reproduce: 1 where they are equal, 0 for the
    means alone, below 0 for worse. Where the reference does not vary, its power stands for its variance."""
    wide = reference.astype(np.float64)
    error = float(np.sum((outputs - wide) ** 2))
    variance = float(np.sum((wide - wide.mean(axis=0)) ** 2)) or float(np.sum(wide**2))
    return 1.0 - error / max(variance, 1e-30)


def signal_to_noise_db(outputs: Outputs, reference: Outputs) -> float:
    """Power of the reference over that of the difference, in decibels; infinite where they are equal."""
    wide = reference.astype(np.float64)
    noise = float(np.sum((outputs - wide) ** 2))
    return float("inf") if noise == 0 else 10 * float(np.log10(max(float(np.sum(wide**2)), 1e-30) / noise))

"""How arrays lie at the ends of a file: those of rank 4, pictures above all, are channels last; others are as in torch.

Exporters take and give arrays so whatever their format; where its files are channels first, as in ONNX, the exporter turns them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def to_file(x_N: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`x_NHWC` of `x_NCHW`; of another rank as it is."""
    return np.ascontiguousarray(np.moveaxis(x_N, 1, -1)) if x_N.ndim == 4 else x_N


def to_torch(x_N: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`x_NCHW` of `x_NHWC`; of another rank as it is."""
    return np.ascontiguousarray(np.moveaxis(x_N, -1, 1)) if x_N.ndim == 4 else x_N

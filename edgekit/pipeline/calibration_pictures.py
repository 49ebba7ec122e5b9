"""The pictures that int8 is calibrated with."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.images import list_images, read_image, to_float
from edgekit.core.model import Preprocessing
from edgekit.pipeline.examples import Examples
from edgekit.pipeline.plan import BuildPlan
from edgekit.supernet.storage import CALIBRATION

MAX_PICTURES: Final = 128


def calibration_pictures(planned: BuildPlan) -> NDArray[np.float32]:
    """`x_NHWC` pictures at the supernet's size: the user's, or those synthesised when the supernet was trained."""
    size = planned.model.spec.image_size
    preprocessing = Preprocessing(height=size, width=size)
    if planned.data is not None:
        paths = list_images(planned.data)
        return to_float(
            np.stack([read_image(paths[index], preprocessing) for index in _some(len(paths), planned.seed)]),
            preprocessing,
        )
    if isinstance(planned.task, Examples):
        return to_float(planned.task.x_NHWC[_some(len(planned.task.x_NHWC), planned.seed)], preprocessing)
    return to_float(planned.model.read_tensors(CALIBRATION)["x_NHWC"].numpy(), preprocessing)


def _some(pictures: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(pictures)[:MAX_PICTURES])


def at_size(x_NHWC: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Resized as the supernet resizes what it is trained with."""
    import torch

    from edgekit.supernet.resizing import resized

    small_NCHW = resized(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2), size)
    return np.ascontiguousarray(small_NCHW.permute(0, 2, 3, 1).numpy())

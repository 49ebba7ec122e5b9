"""Networks smaller than any slice of the supernet: channels are pruned, and the sliced network teaches the pruned one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import ConversionError, InfeasibleError
from edgekit.core.proportion import wilson_interval
from edgekit.core.quantity import Quantity
from edgekit.devices.cost_model import CostModel
from edgekit.devices.size import file_size_bytes
from edgekit.passes.registry import make_pass

if TYPE_CHECKING:
    from edgekit.core.model import Model
    from edgekit.devices.target import Target
    from edgekit.passes.contract import Pass

START_ROOM: Final = 1.5
"""How much larger than the limit the slice may be that channels are pruned from."""
_CUTS = (0.85, 0.7, 0.55, 0.45, 0.35, 0.25, 0.18, 0.12, 0.08)
_HELD_OUT_SHARE = 0.25
# A count, not a time: the same question gets the same file.
_STEPS, _BATCH = 600, 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrunk:
    """`agreement` is the share of held-out `pictures` whose greatest output is the sliced network's."""

    model: Model
    passes: tuple[Pass, ...]
    agreement: float
    pictures: int

    def accuracy(self, of_slice: Quantity) -> Quantity:
        """What the predictor says of the sliced network, less what the pruned one answers otherwise."""
        low, high = of_slice.interval or (of_slice.value, of_slice.value)
        least, _ = wilson_interval(self.agreement, self.pictures)
        return replace(
            of_slice,
            value=of_slice.value * self.agreement,
            interval=(low * least, max(high, of_slice.value * self.agreement)),
            source=f"{of_slice.source}; for the sliced network, of whose answers the pruned one gives {self.agreement:.1%} "
            f"on {self.pictures} pictures",
        )


def shrink(
    model: Model,
    limit_bytes: float,
    *,
    x_NHWC: NDArray[np.float32],
    target: Target,
    cost_model: CostModel,
    seed: int,
    progress: Callable[[str], None],
) -> Shrunk:
    """Prunes channels until the predicted file keeps the limit, and distils on half of the pictures. A quarter chooses among the
    states of that training, the last quarter judges.

    Raises InfeasibleError where even a twelfth of the work needs more bytes.
    """
    import torch

    from edgekit.networks.exported import exported
    from edgekit.networks.layers import run
    from edgekit.networks.lifting import lifted
    from edgekit.passes.contract import Context, Samples
    from edgekit.passes.picture_augmentation import picture_augmentation

    x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous()
    order = torch.randperm(len(x_NCHW), generator=torch.Generator().manual_seed(seed))
    held = max(1, round(_HELD_OUT_SHARE * len(order)))
    unseen, judging, training = (
        Samples(x_N=x_NCHW[some]) for some in (order[:held], order[held : 2 * held], order[2 * held :])
    )
    whole = replace(model, module=lifted(exported(model.module, model.input_shape)))
    context = Context(
        original=whole,
        target=target,
        latency_ms=cost_model.latency_ms,
        calibration=training,
        judging=judging,
        training=training,
        augment=None if model.preprocessing is None else picture_augmentation(model.preprocessing),
        seed=seed,
        progress=progress,
    )
    smallest = float(file_size_bytes(whole.operators, target.precision, target.runtime))
    for share in _CUTS:
        cut = make_pass("prune::channels", {"macs_share": share, "multiple": 4})
        try:
            pruned = cut(whole, context).model
        except ConversionError:
            break
        smallest = min(smallest, file_size_bytes(pruned.operators, target.precision, target.runtime))
        if smallest <= limit_bytes:
            batch = max(2, min(_BATCH, len(training)))
            distil = make_pass("train::distil", {"epochs": _STEPS * batch / len(training), "batch": batch})
            taught = distil(pruned, context).model
            answers_N, wanted_N = (run(one.module, unseen.x_N).argmax(1) for one in (taught, whole))
            agreement = float((answers_N == wanted_N).float().mean())
            return Shrunk(
                model=taught,
                passes=(cut, distil),
                agreement=agreement,
                pictures=len(unseen),
            )
    raise InfeasibleError(
        f"no network fits: size_bytes {limit_bytes:.6g} (slicing and pruning come down to {smallest:.0f})",
        hint="raise --size-bytes",
    )

"""What a round costs a client, and whether it can afford it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, fx

from edgekit.core.errors import UsageError
from edgekit.federated.parts import Part, trained, training_only
from edgekit.pruning.candidates import uses_of
from edgekit.pruning.masks import Masks
from edgekit.pruning.sparse_training.memory import peak_bytes

FLOAT = 4
_STATE = 3
"""Of a trained parameter: itself, its gradient, its momentum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientBudget:
    """Of one round; None is no limit. Raises UsageError for limits that are not above zero."""

    ram_bytes: int | None = None
    macs: int | None = None
    traffic_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("ram_bytes", "macs", "traffic_bytes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"{name} is {value}, expected more than 0", hint="leave the limit out")

    def obstacle(self, cost: Cost) -> str:
        """Why a round of this cost cannot be afforded; empty where it can."""
        limits = (
            ("bytes of memory", cost.peak_bytes, self.ram_bytes),
            ("MACs", cost.macs, self.macs),
            ("bytes of traffic", cost.traffic_bytes, self.traffic_bytes),
        )
        over = [f"{needs} {what}, {limit} are allowed" for what, needs, limit in limits if limit and needs > limit]
        return "the round needs " + "; ".join(over) if over else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Predicted of one round: `macs` of the kernels that run, `kept_macs` those of kept weights among them."""

    macs: int
    kept_macs: int
    peak_bytes: int
    traffic_bytes: int


class Kernels(StrEnum):
    """Dense ones multiply zeros too, and are faster; sparse ones hold and multiply kept weights alone."""

    DENSE = "dense"
    SPARSE = "sparse"


def samples_seen(samples: int, *, epochs: int, batch: int) -> int:
    """By a client of so many in a round: whole mini-batches, smaller ones where it has fewer samples."""
    size = min(batch, samples)
    return epochs * max(1, samples // size) * size


def cost_of(
    module: fx.GraphModule,
    masks: Masks,
    input_shape: Sequence[int],
    *,
    batch: int,
    samples: int,
    part: Part,
    kernels: Kernels = Kernels.DENSE,
) -> Cost:
    """Of training on so many samples in all, traffic aside: multiplications of convolutions and linear layers, and the tensors that
    live at once, parameters, gradients, momenta and what a mini-batch keeps for the way back."""
    x_1 = torch.zeros(1, *input_shape)
    uses = uses_of(module, tuple(masks), x_1)
    chosen = trained(module, part)
    # Forward, to the input, and to the weight where it is trained.
    passes = {name: 2 + (name in chosen) for name in masks}
    macs = sum(mask.numel() * uses[name] * passes[name] for name, mask in masks.items())
    kept = sum(int(mask.sum()) * uses[name] * passes[name] for name, mask in masks.items())
    parameters = sum(one.numel() * (_STATE if name in chosen else 1) for name, one in module.named_parameters()) + sum(
        one.numel() for one in module.buffers()
    )
    if kernels is Kernels.SPARSE:
        counts = {name: int(mask.sum()) for name, mask in masks.items()}
        peak = peak_bytes(module, input_shape, batch, kept=counts)
        return Cost(macs=kept * samples, kept_macs=kept * samples, peak_bytes=peak, traffic_bytes=0)
    return Cost(
        macs=macs * samples,
        kept_macs=kept * samples,
        peak_bytes=FLOAT * (parameters + batch * _kept_for_the_way_back(module, x_1, part)),
        traffic_bytes=0,
    )


@torch.enable_grad()
def _kept_for_the_way_back(module: fx.GraphModule, x_1: Tensor, part: Part) -> int:
    """Values of one sample's activations that autograd holds on to, each counted once."""
    held: dict[int, Tensor] = {}
    own = {parameter.data_ptr() for parameter in module.parameters()} | {one.data_ptr() for one in module.buffers()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            held[tensor.data_ptr()] = tensor
        return tensor

    module.eval()
    with training_only(module, part), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x_1)
    return sum(tensor.numel() for tensor in held.values())

"""What a pass is called with in tests."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.core.model import Model, Preprocessing
from edgekit.core.operators import Operator
from edgekit.devices.target import parse_target
from edgekit.networks.description import describe
from edgekit.passes.contract import Context, Samples


def trace_of(network: nn.Module) -> fx.GraphModule:
    """In eval mode, with parameters of its own."""
    return fx.symbolic_trace(copy.deepcopy(network).eval())


def model_of(network: nn.Module, input_shape: tuple[int, ...], masks: dict[str, Tensor] | None = None) -> Model:
    module = trace_of(network)
    return Model(
        module=module,
        input_shape=input_shape,
        labels=(),
        preprocessing=Preprocessing(height=8, width=8),
        operators=describe(module, input_shape).operators,
        output_range=None,
        masks=masks or {},
    )


def ms_by_macs(operators: Sequence[Operator]) -> float:
    return sum(operator.macs for operator in operators) / 1e6


def context_of(model: Model, x_N: Tensor | None = None, **given: Any) -> Context:
    samples = Samples(x_N=torch.zeros(1, *model.input_shape) if x_N is None else x_N)
    defaults = {"latency_ms": ms_by_macs, "calibration": samples, "judging": samples}
    return Context(original=model, target=parse_target("rpi4"), **{**defaults, **given})


def give_statistics(network: nn.Module, seed: int) -> None:
    """Random scales, shifts and running statistics for all its normalisation."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)
            if module.affine:
                with torch.no_grad():
                    module.weight.uniform_(-1.5, 1.5, generator=generator)
                    module.bias.normal_(generator=generator)


def relative_difference(one: nn.Module, other: nn.Module, x_N: Tensor) -> float:
    """The largest, by the largest output."""
    with torch.no_grad():
        y_N, other_N = one(x_N), other(x_N)
    return float((y_N - other_N).abs().max() / y_N.abs().max())

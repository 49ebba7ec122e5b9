"""Synaptic flow (SynFlow, arXiv 2006.05467): how much a weight carries from input to output, told without data.

A weight that leads nowhere, since all that follows it is pruned, carries nothing. At few kept weights this decides: the
largest weights of each layer do not meet those of the next.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.pruning.masks import apply_masks, global_masks, largest, prunable

ROUNDS = 40
"""Steps from all weights to those kept, each the same factor: after each, the flow is measured anew."""
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.GELU, nn.Tanh)


def flow_masks(module: nn.Module, input_shape: Sequence[int], counts: Mapping[str, int]) -> dict[str, Tensor]:
    """In each layer so many weights, those of the most flow; where flow says nothing, the largest."""

    def choose(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        numbers = {
            name: round(score.numel() * (counts[name] / score.numel()) ** share) for name, score in scores.items()
        }
        return {name: largest(score, max(counts[name], numbers[name])) for name, score in scores.items()}

    return _masks(module, input_shape, choose)


def flow_counts(module: nn.Module, input_shape: Sequence[int], total: int) -> dict[str, int]:
    """How many weights each layer has in one ranking of all by flow, as SynFlow itself prunes; 0 is possible."""

    def choose(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        whole = sum(score.numel() for score in scores.values())
        return global_masks(scores, max(total, round(whole * (total / whole) ** share)))

    return {name: int(mask.sum()) for name, mask in _masks(module, input_shape, choose).items()}


def _masks(
    module: nn.Module,
    input_shape: Sequence[int],
    choose: Callable[[Mapping[str, Tensor], float], dict[str, Tensor]],
) -> dict[str, Tensor]:
    device = next(module.parameters()).device
    module = _positive(module).to(device)
    weights = prunable(module)
    x_1 = torch.ones(1, *input_shape, dtype=torch.float64, device=device)
    # The last layer's output, not the network's: a softmax sums to one whatever flows into it.
    outputs: dict[str, Tensor] = {}

    def note(_layer: nn.Module, _given: object, y: Tensor) -> None:
        outputs["last"] = y

    for name in weights:
        module.get_submodule(name.removesuffix("weight").removesuffix(".")).register_forward_hook(note)
    magnitudes = {name: weight.detach() / weight.detach().max().clamp_min(1e-300) for name, weight in weights.items()}
    masks: dict[str, Tensor] = {}
    for number in range(1, ROUNDS + 1):
        module(x_1)
        gradients = torch.autograd.grad(outputs["last"].sum(), list(weights.values()), allow_unused=True)
        flows = {
            name: torch.zeros_like(weight) if gradient is None else (weight * gradient).detach().abs()
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        most = max(float(flow.max()) for flow in flows.values()) or 1.0
        # A trifle of magnitude, for weights that nothing flows through.
        scores = {
            name: torch.nan_to_num(flow / most) + 1e-30 * magnitudes[name] * (weights[name].detach() != 0)
            for name, flow in flows.items()
        }
        masks = choose(scores, number / ROUNDS)
        apply_masks(module, masks)
    return masks


def _positive(module: nn.Module) -> nn.Module:
    """A copy in which all that flows is a sum of products of magnitudes: activations let everything pass, normalisation scales."""
    module = copy.deepcopy(module).double().eval()
    for name, layer in list(module.named_modules()):
        if isinstance(layer, _ACTIVATIONS) and name:
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, nn.Identity())
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
                layer.running_mean.zero_()
        for name, parameter in module.named_parameters():
            # Flow begins at the input alone.
            parameter.zero_() if name.endswith("bias") else parameter.abs_()
    return module

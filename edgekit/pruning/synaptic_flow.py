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

from edgekit.pruning.masks import Masks, apply_masks, global_masks, largest, prunable

ROUNDS = 100
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


def flow_ranking(module: nn.Module, input_shape: Sequence[int], total: int) -> dict[str, Tensor]:
    """So many weights in one ranking of all by flow, as SynFlow itself prunes; a layer beside another can be emptied."""

    def choose(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        whole = sum(score.numel() for score in scores.values())
        return global_masks(scores, max(total, round(whole * (total / whole) ** share)))

    return _masks(module, input_shape, choose)


def reaches_all(module: nn.Module, input_shape: Sequence[int], masks: Masks) -> bool:
    """Whether something flows from the input to every last layer: an emptied layer is bypassed by another."""
    module = _positive(module)
    weights = prunable(module)
    apply_masks(module, masks)
    return all(bool(y.sum() > 0) for y in _Ends(module, tuple(weights), input_shape).flows())


class _Ends:
    """Where flow is measured: the outputs of all layers that none of the others reads.

    Not the network's: a softmax sums to one whatever flows into it.
    """

    def __init__(self, module: nn.Module, names: Sequence[str], input_shape: Sequence[int]) -> None:
        self._module, self._seen = module, list[Tensor]()
        device = next(module.parameters()).device
        self._x_1 = torch.ones(1, *input_shape, dtype=torch.float64, device=device)
        for name in names:
            layer = module.get_submodule(name.removesuffix("weight").removesuffix("."))
            layer.register_forward_hook(lambda _layer, _given, y: self._seen.append(y))
        self._chosen = self._unread()

    def flows(self) -> list[Tensor]:
        outputs = self._outputs()
        return [outputs[index] for index in self._chosen]

    def _outputs(self) -> list[Tensor]:
        self._seen.clear()
        self._module(self._x_1)
        return list(self._seen)

    def _unread(self) -> list[int]:
        outputs = self._outputs()
        chosen = []
        for index, y in enumerate(outputs):
            others = [one.sum() for place, one in enumerate(outputs) if place != index]
            if (
                not others
                or torch.autograd.grad(torch.stack(others).sum(), y, retain_graph=True, allow_unused=True)[0] is None
            ):
                chosen.append(index)
        return chosen


def _masks(
    module: nn.Module,
    input_shape: Sequence[int],
    choose: Callable[[Mapping[str, Tensor], float], dict[str, Tensor]],
) -> dict[str, Tensor]:
    module = _positive(module)
    weights = prunable(module)
    ends = _Ends(module, tuple(weights), input_shape)
    magnitudes = {name: weight.detach() / weight.detach().max().clamp_min(1e-300) for name, weight in weights.items()}
    masks: dict[str, Tensor] = {}
    for number in range(1, ROUNDS + 1):
        flow = torch.stack([y.sum() for y in ends.flows()]).sum()
        gradients = torch.autograd.grad(flow, list(weights.values()), allow_unused=True)
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

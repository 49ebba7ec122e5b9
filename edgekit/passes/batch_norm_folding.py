"""Batch normalisation in eval mode is a scale and a shift per channel: a layer beside it can do both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.passes.graph_reading import GraphReading, Shape, shapes_of, tidied

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Foldable = Convolution | Transposed | nn.Linear


@dataclass(frozen=True, kw_only=True, slots=True)
class Affine:
    """`y = scale * x + shift` per channel, float64."""

    scale_C: Tensor
    shift_C: Tensor


def affine_of(norm: _BatchNorm) -> Affine:
    """What a normalisation with running statistics does in eval mode."""
    assert norm.running_mean is not None  # noqa: S101
    assert norm.running_var is not None  # noqa: S101
    scale_C = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale_C = scale_C * norm.weight.detach().double()
    shift_C = -norm.running_mean.double() * scale_C
    if norm.affine:
        shift_C = shift_C + norm.bias.detach().double()
    return Affine(scale_C=scale_C, shift_C=shift_C)


def fold_batch_norms(module: fx.GraphModule, input_shape: Shape) -> tuple[dict[str, str], dict[str, str]]:
    """Changes `module` in place: (layer that took it over by normalisation, reason by normalisation that stays)."""
    shapes = shapes_of(module, input_shape)
    reading = GraphReading(module)
    folded: dict[str, str] = {}
    left: dict[str, str] = {}
    for node in list(module.graph.nodes):
        norm = reading.module_of(node)
        if not isinstance(norm, _BatchNorm):
            continue
        reason = _obstacle(reading, node, norm)
        if not reason:
            before, after = node.args[0], list(node.users)
            if _can_scale_outputs(reading, before, shapes):
                _scale_outputs(reading.module_of(before), affine_of(norm))
                folded[str(node.target)] = str(before.target)
            elif _all_can_scale_inputs(reading, after, norm, shapes):
                for reader in after:
                    _scale_inputs(reading.module_of(reader), affine_of(norm))
                folded[str(node.target)] = ", ".join(str(reader.target) for reader in after)
            else:
                reason = "no layer beside it can take it over"
        if reason:
            left[str(node.target)] = reason
        else:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    tidied(module)
    return folded, left


def _obstacle(reading: GraphReading, node: fx.Node, norm: _BatchNorm) -> str:
    if norm.running_mean is None:
        return "it normalises by the batch"
    return "" if reading.is_alone(node) else "it is called several times"


def _can_scale_outputs(reading: GraphReading, layer: object, shapes: dict[fx.Node, Shape]) -> bool:
    module = reading.module_of(layer)
    if not isinstance(layer, fx.Node) or not isinstance(module, Foldable):
        return False
    # A linear layer's features are the normalised channels only where nothing lies between batch and features.
    matching = not isinstance(module, nn.Linear) or len(shapes[layer]) == 2
    return matching and len(layer.users) == 1 and reading.is_alone(layer)


def _all_can_scale_inputs(
    reading: GraphReading, readers: list[fx.Node], norm: _BatchNorm, shapes: dict[fx.Node, Shape]
) -> bool:
    moves = bool(affine_of(norm).shift_C.any())
    return bool(readers) and all(_can_scale_inputs(reading, reader, moves, shapes) for reader in readers)


def _can_scale_inputs(reading: GraphReading, layer: fx.Node, moves: bool, shapes: dict[fx.Node, Shape]) -> bool:
    module = reading.module_of(layer)
    if not reading.is_alone(layer):
        return False
    if isinstance(module, nn.Linear):
        return len(shapes[layer]) == 2
    if not isinstance(module, Convolution):
        return False
    # Padding adds zeros behind the normalisation, where the shift would have to be.
    return not moves or module.padding_mode != "zeros" or not _pads(module)


def _pads(convolution: Convolution) -> bool:
    if isinstance(convolution.padding, str):
        return convolution.padding == "same" and any(size > 1 for size in convolution.kernel_size)
    return any(convolution.padding)


def _scale_outputs(layer: nn.Module | None, affine: Affine) -> None:
    assert isinstance(layer, Foldable)  # noqa: S101
    weight = layer.weight.detach().double()
    bias_O = torch.zeros_like(affine.shift_C) if layer.bias is None else layer.bias.detach().double()
    if isinstance(layer, Transposed):
        # Its weights are (I, O / groups, ...).
        by_group = weight.reshape(layer.groups, -1, *weight.shape[1:])
        scale = affine.scale_C.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
        weight = (by_group * scale).reshape(weight.shape)
    else:
        weight = weight * affine.scale_C.reshape(-1, *[1] * (weight.ndim - 1))
    _put(layer, weight, bias_O * affine.scale_C + affine.shift_C)


def _scale_inputs(layer: nn.Module | None, affine: Affine) -> None:
    assert isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))  # noqa: S101
    weight = layer.weight.detach().double()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    ones = [1] * (weight.ndim - 2)
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    scale, shift = (value_C.reshape(groups, 1, weight.shape[1], *ones) for value_C in (affine.scale_C, affine.shift_C))
    moved_O = (by_group * shift).flatten(2).sum(2).flatten()
    bias_O = moved_O if layer.bias is None else layer.bias.detach().double() + moved_O
    _put(layer, (by_group * scale).reshape(weight.shape), bias_O)


def _put(layer: Foldable, weight: Tensor, bias_O: Tensor) -> None:
    dtype = layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(dtype))
    layer.bias = nn.Parameter(bias_O.to(dtype))

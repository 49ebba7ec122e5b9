"""Normalisation put back into a sliced network, which has none: clients exchange what flows through it."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgekit.pruning.batch_norm_selection import Moments


@torch.no_grad()
def with_normalisation(module: fx.GraphModule, x_NCHW: Tensor) -> fx.GraphModule:
    """Batch normalisation after every convolution of more than one position, in place; to rounding the outputs stay the same.

    Its statistics are those of the inputs `x_NCHW`, and its scale and shift undo them. The convolution's bias goes into the shift.
    """
    for node in list(module.graph.nodes):
        if node.op != "call_module":
            continue
        layer = module.get_submodule(str(node.target))
        if not isinstance(layer, nn.Conv2d):
            continue
        moments = _output_moments(module, node, x_NCHW)
        if moments is None:
            continue
        norm = nn.BatchNorm2d(layer.out_channels)
        assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018
        norm.running_mean.copy_(moments.mean_C)
        norm.running_var.copy_(moments.var_C)
        norm.weight.copy_((moments.var_C + norm.eps).sqrt())
        norm.bias.copy_(moments.mean_C)
        if layer.bias is not None:
            norm.running_mean.sub_(layer.bias)
            layer.bias = None
        name = f"{node.target}_norm".replace(".", "_")
        module.add_submodule(name, norm)
        with module.graph.inserting_after(node):
            after = module.graph.call_module(name, (node,))
        node.replace_all_uses_with(after, delete_user_cb=lambda user, after=after: user is not after)
        module.recompile()
    return module.eval()


def _output_moments(module: fx.GraphModule, node: fx.Node, x_NCHW: Tensor) -> Moments | None:
    """None where each output has a single position: what little varies there is no ground for statistics."""
    seen: list[Tensor] = []
    handle = module.get_submodule(str(node.target)).register_forward_hook(lambda _layer, _given, y: seen.append(y))
    try:
        module.eval()(x_NCHW)
    finally:
        handle.remove()
    if not seen or seen[0].shape[2:].numel() == 1:
        return None
    var_C, mean_C = torch.var_mean(torch.cat([y.transpose(0, 1).flatten(1) for y in seen], 1), 1, correction=0)
    return Moments(mean_C=mean_C, var_C=var_C)

"""Progressive pruning of FedTiny (arXiv 2212.01977): one unit at a time loses its smallest weights and grows as many others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from edgekit.pruning.masks import largest

SHORTLIST = 8
"""So many times the weights to grow are remembered of the first mini-batch, and averaged over the others."""
BLOCK = 2**14
"""Weight gradients are formed so many at a time at least, or one output's where that has more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sparse:
    """Values at flat indices of a weight: what a client sends of its gradient."""

    index_A: Tensor
    value_A: Tensor


def changes(step: float, stop: float, active: int, *, alpha: float) -> int:
    """a(t) = alpha / 2 * (1 + cos(pi t / T)) of the active weights, rounded down; none from T on."""
    return int(alpha / 2 * (1 + math.cos(math.pi * step / stop)) * active) if step < stop else 0


def unit_of_turn(units: Sequence[tuple[str, ...]], turn: int) -> tuple[str, ...]:
    """From the output backwards, then from the output again."""
    return units[-1 - turn % len(units)]


class Shortlist:
    """The k entries of largest magnitude of a stream, in memory for k entries and one piece of the stream."""

    def __init__(self, k: int, device: torch.device) -> None:
        self._k = k
        self.index_A = torch.empty(0, dtype=torch.int64, device=device)
        self.value_A = torch.empty(0, device=device)

    def add(self, first: int, value_B: Tensor, wanted_B: Tensor) -> None:
        """A piece of the stream from flat index `first` on, of which only `wanted_B` counts."""
        if len(self.value_A) == self._k:
            # Of equals the first stays, so only what is larger than the least can enter.
            wanted_B = wanted_B & (value_B.abs() > self.value_A.abs().min())
        index_B = wanted_B.nonzero().flatten()
        value_A = torch.cat([self.value_A, value_B[index_B]])
        index_A = torch.cat([self.index_A, index_B + first])
        if len(value_A) > self._k:
            chosen = largest(value_A.abs(), self._k)
            index_A, value_A = index_A[chosen], value_A[chosen]
        self.index_A, self.value_A = index_A, value_A


def largest_gradients(
    module: nn.Module,
    masks: Mapping[str, Tensor],
    counts: Mapping[str, int],
    losses: Sequence[Callable[[nn.Module], Tensor]],
) -> dict[str, Sparse]:
    """Of each parameter named in `counts`, the so many largest gradients among its inactive weights."""
    active = {name: masks[name].flatten().nonzero().flatten() for name in counts}
    return largest_gradients_beside(module, active, counts, losses)


def largest_gradients_beside(
    module: nn.Module,
    active: Mapping[str, Tensor],
    counts: Mapping[str, int],
    losses: Sequence[Callable[[nn.Module], Tensor]],
) -> dict[str, Sparse]:
    """Of each parameter named in `counts`, the so many largest gradients beside its `active` weights (flat, ascending).

    `losses` are the mean losses of mini-batches. Normalisation is frozen: the module is put into eval mode and nothing of it
    changes. The gradient is the mean over mini-batches; a position that is not among the SHORTLIST * count largest of the
    first one is not considered. No weight's gradient is ever held whole: beyond one mini-batch's activations the memory is that of
    SHORTLIST * count entries and of BLOCK weights, or one output's if larger.
    """
    module.eval()
    device = next(module.parameters()).device
    lists = {name: Shortlist(SHORTLIST * count, device) for name, count in counts.items()}

    def shortlist(name: str, first: int, value_B: Tensor) -> None:
        start, end = _between(active[name], first, len(value_B))
        wanted_B = torch.ones_like(value_B, dtype=torch.bool)
        wanted_B[active[name][start:end] - first] = False
        lists[name].add(first, value_B, wanted_B)

    _stream(module, tuple(counts), losses[0], shortlist)
    orders = {name: one.index_A.sort() for name, one in lists.items()}
    index = {name: order.values for name, order in orders.items()}
    sums = {name: lists[name].value_A[order.indices] for name, order in orders.items()}

    _add_at(module, index, sums, losses[1:])
    return {
        name: _cut(Sparse(index_A=index[name], value_A=sums[name] / len(losses)), count)
        for name, count in counts.items()
    }


def gradients_at(
    module: nn.Module, index: Mapping[str, Tensor], losses: Sequence[Callable[[nn.Module], Tensor]]
) -> dict[str, Sparse]:
    """Of each parameter named in `index`, the gradients at those flat indices (ascending), as `largest_gradients` takes them.

    Where the positions are drawn and not chosen, they tell nothing of the samples, and all clients send the same ones.
    """
    module.eval()
    sums = {name: torch.zeros(len(index_A), device=index_A.device) for name, index_A in index.items()}
    _add_at(module, index, sums, losses)
    return {name: Sparse(index_A=index_A, value_A=sums[name] / len(losses)) for name, index_A in index.items()}


def merged_gradients(parts: Sequence[Sparse], weights: Sequence[float], count: int) -> Sparse:
    """The `count` largest of the weighted mean of what several clients sent; what one did not send is zero of its."""
    index_A, place = torch.unique(torch.cat([part.index_A for part in parts]), return_inverse=True)
    share = [weight / sum(weights) for weight in weights]
    value_B = torch.cat([part.value_A * one for part, one in zip(parts, share, strict=True)])
    value_A = torch.zeros(len(index_A), device=value_B.device).index_add_(0, place, value_B)
    return _cut(Sparse(index_A=index_A, value_A=value_A), count)


def exchanged(weight: Tensor, mask: Tensor, grown: Sparse, count: int) -> Tensor:
    """A new mask: without the `count` smallest active weights, with the `count` largest of `grown`.

    What is dropped cannot be grown at once, and as many are grown as dropped: the number kept stays, and exactly `count`
    weights change. Where fewer can be grown, so many fewer are dropped. `grown` holds inactive positions only. One without a
    gradient leads nowhere, and is not grown.
    """
    flat = weight.detach().flatten()
    active = mask.flatten().nonzero().flatten()
    after = exchanged_kept(Sparse(index_A=active, value_A=flat[active]), grown, count)
    new = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
    new[after.index_A] = True
    return new.view(mask.shape)


def exchanged_kept(kept: Sparse, grown: Sparse, count: int) -> Sparse:
    """As `exchanged`, of a weight that exists at kept positions only: those kept after it, with zeros at those grown."""
    alive = grown.value_A != 0
    grown = _cut(Sparse(index_A=grown.index_A[alive], value_A=grown.value_A[alive]), count)
    stays = ~largest(-kept.value_A.abs(), len(grown.index_A))
    index_A, order_A = torch.cat([kept.index_A[stays], grown.index_A]).sort()
    value_A = torch.cat([kept.value_A[stays], torch.zeros_like(grown.value_A)])
    return Sparse(index_A=index_A, value_A=value_A[order_A])


def _between(index_A: Tensor, first: int, count: int) -> tuple[int, int]:
    """Which of ascending positions are among the `count` from `first` on."""
    start, end = torch.searchsorted(index_A, torch.tensor([first, first + count], device=index_A.device)).tolist()
    return start, end


def _cut(sparse: Sparse, count: int) -> Sparse:
    chosen = largest(sparse.value_A.abs(), count)
    return Sparse(index_A=sparse.index_A[chosen], value_A=sparse.value_A[chosen])


def _add_at(
    module: nn.Module,
    index: Mapping[str, Tensor],
    sums: Mapping[str, Tensor],
    losses: Sequence[Callable[[nn.Module], Tensor]],
) -> None:
    """Adds to `sums`, in place, the gradients of each loss at flat indices in ascending order."""

    def add(name: str, first: int, value_B: Tensor) -> None:
        ends = torch.tensor([first, first + len(value_B)], device=index[name].device)
        start, end = torch.searchsorted(index[name], ends).tolist()
        sums[name][start:end] += value_B[index[name][start:end] - first]

    for loss_of in losses:
        _stream(module, tuple(index), loss_of, add)


def _stream(
    module: nn.Module,
    names: Sequence[str],
    loss_of: Callable[[nn.Module], Tensor],
    see: Callable[[str, int, Tensor], None],
) -> None:
    """Calls `see(name, first flat index, gradients)` for consecutive pieces of the named parameters' gradients.

    Only what the outputs of the named layers need is kept for the way back, and no parameter's own gradient is formed.
    """
    needed = {name: parameter.requires_grad for name, parameter in module.named_parameters()}

    def watch(name: str, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not y.requires_grad:
            # A copy, for an activation that works in place may follow.
            y = y.requires_grad_().clone()
        x = x.detach()
        y.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: _pieces(layer, x, gradient, lambda first, piece: see(name, first, piece))
        )
        return y

    handles = []
    for name in names:
        layer = module.get_submodule(name.removesuffix("weight").removesuffix("."))
        handles.append(layer.register_forward_hook(lambda layer, given, y, name=name: watch(name, layer, given[0], y)))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    try:
        torch.autograd.backward(loss_of(module))
    finally:
        for handle in handles:
            handle.remove()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(needed[name])


@torch.no_grad()
def _pieces(layer: nn.Module, x: Tensor, gradient: Tensor, see: Callable[[int, Tensor], None]) -> None:
    """The gradient of a layer's weight from its input and the gradient of its output, some outputs at a time."""
    if isinstance(layer, nn.Linear):
        row = layer.in_features
        x_NI, gradient_NO = x.flatten(0, -2), gradient.flatten(0, -2)
        step = max(1, BLOCK // row)
        for first in range(0, layer.out_features, step):
            see(first * row, (gradient_NO[:, first : first + step].T @ x_NI).flatten())
    elif isinstance(layer, nn.Conv2d):
        padding: tuple[int, ...] | str = layer.padding
        if isinstance(padding, str) or layer.padding_mode != "zeros":
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            x, padding = nn.functional.pad(x, layer._reversed_padding_repeated_twice, mode), (0, 0)
        inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        row = inputs * math.prod(layer.kernel_size)
        # Whole groups where they are small, as in a depthwise layer; else some outputs of one group at a time.
        groups = max(1, min(layer.groups, BLOCK // (outputs * row)))
        step = outputs if groups > 1 else max(1, min(outputs, BLOCK // row))
        for group in range(0, layer.groups, groups):
            some = min(groups, layer.groups - group)
            x_part = x[:, group * inputs : (group + some) * inputs]
            for first in range(group * outputs, (group + some) * outputs, some * step):
                last = min(first + some * step, (group + some) * outputs)
                shape = (last - first, inputs, *layer.kernel_size)
                piece = conv2d_weight(  # type: ignore[no-untyped-call]
                    x_part,
                    shape,
                    gradient[:, first:last].contiguous(),
                    layer.stride,
                    padding,
                    layer.dilation,
                    some,
                )
                see(first * row, piece.flatten())

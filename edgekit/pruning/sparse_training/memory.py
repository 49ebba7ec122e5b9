"""How many bytes of tensors a training holds at once: metered, and foretold without doing it."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgekit.pruning.masked_training import train_masked
from edgekit.pruning.progressive import Sparse
from edgekit.pruning.sparse_training.network import SparseNetwork
from edgekit.pruning.sparse_training.training import train_kept


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it lasts, counts what operators allocate on a device; `peak` is the most that was held at one time.

    What was there before does not count, nor does what a library allocates within an operator.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device
        self.live = 0
        self.peak = 0
        self._known: dict[int, weakref.finalize[..., Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for one in tree_leaves((args, kwargs)):
            if isinstance(one, Tensor) and one.device.type == self._device:
                self._know(one, 0)
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor) and one.device.type == self._device:
                self._know(one, one.untyped_storage().nbytes())
        self.peak = max(self.peak, self.live)
        return result

    def _know(self, x: Tensor, size: int) -> None:
        # The storage, not the tensor: what autograd saved may outlive every tensor that Python has seen.
        storage = x.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self.live += size
            self._known[key] = weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.live -= size
        del self._known[key]


def peak_bytes(
    module: nn.Module,
    input_shape: Sequence[int],
    batch: int,
    *,
    kept: Mapping[str, int] | None = None,
) -> int:
    """At most held at once by a training step of `module`: weights, gradients, momenta, activations, and the mini-batch.

    Dense (`train_masked`), or, where the number of kept weights of each prunable parameter is given, sparse (`train_kept`).
    `batch` is how many samples are differentiated at a time, so those of one part of a loss in parts. Nothing is
    computed or allocated: the step itself is run on the device "meta". What libraries allocate within an operator is not seen.
    """
    with torch.device("meta"):
        unread: dict[int, object] = {
            id(one): nn.Parameter(torch.empty_like(one, device="meta"), one.requires_grad)
            for one in module.parameters()
        }
        unread |= {id(one): torch.empty_like(one, device="meta") for one in module.buffers()}
        twin: nn.Module = copy.deepcopy(module, unread)
        if kept is not None:
            twin = SparseNetwork(twin, {name: _unknown(count) for name, count in kept.items()})

        def loss_of(network: nn.Module) -> Tensor:
            loss: Tensor = network(torch.empty(batch, *input_shape)).sum()
            return loss

        with LiveBytes("meta") as memory:
            steps = [(0.1, loss_of)] * 2
            if isinstance(twin, SparseNetwork):
                train_kept(twin, {}, steps)
            else:
                train_masked(twin, {}, {}, steps)
    peak: int = memory.peak
    return peak + resident_bytes(twin)


def resident_bytes(module: nn.Module) -> int:
    """Of its parameters and buffers and of where the kept weights stand."""
    tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
    if isinstance(module, SparseNetwork):
        patterns = [layer.pattern for layer in module.sparse_layers().values()]
        tensors += [getattr(pattern, field.name) for pattern in patterns for field in fields(pattern)]
    return sum(one.nbytes for one in tensors)


def _unknown(count: int) -> Sparse:
    return Sparse(index_A=torch.empty(count, dtype=torch.int64), value_A=torch.empty(count))

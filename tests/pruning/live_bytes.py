"""How many bytes of tensors were alive at once."""

from __future__ import annotations

import weakref
from collections import Counter
from types import TracebackType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """While it lasts, counts what operators allocate; `peak` is the most that was held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._tensors: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor):
                key = one.untyped_storage()._cdata
                if self._tensors[key] == 0 and key in given:
                    continue  # a view of what was there before
                if self._tensors[key] == 0:
                    self.live += one.untyped_storage().nbytes()
                    self.peak = max(self.peak, self.live)
                self._tensors[key] += 1
                weakref.finalize(one, self._release, key, one.untyped_storage().nbytes())
        return result

    def _release(self, key: int, size: int) -> None:
        self._tensors[key] -= 1
        if self._tensors[key] == 0:
            self.live -= size

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)

"""Samples of one layer as blocks, in memory or in a folder: what a solver reads again in every iteration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Inputs `x_PN`, what their pre-activations are bound by, `bound_PM`, and where that is a target, `on_PM` (bool).

    Elsewhere the bound is from above.
    """

    x_PN: Tensor
    bound_PM: Tensor
    on_PM: Tensor


def merged(blocks: Iterable[Block]) -> Block:
    """One block of all samples."""
    all_blocks = list(blocks)
    return Block(
        x_PN=torch.cat([block.x_PN for block in all_blocks]),
        bound_PM=torch.cat([block.bound_PM for block in all_blocks]),
        on_PM=torch.cat([block.on_PM for block in all_blocks]),
    )


class TensorShelf:
    """Tensors by number: in memory, or as files of `folder`, of which only the one in use is in memory.

    Files are read and written, not mapped: the pages of a mapped file count as the process's own.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder, self._name = folder, name
        self._kept: dict[int, Tensor] = {}

    def __getitem__(self, number: int) -> Tensor:
        return self._kept[number] if self._folder is None else torch.from_numpy(np.load(self._file(number)))

    def __setitem__(self, number: int, value: Tensor) -> None:
        if self._folder is None:
            self._kept[number] = value
        else:
            np.save(self._file(number), value.numpy())

    def _file(self, number: int) -> Path:
        return Path(self._folder or "") / f"{self._name}-{number}.npy"


class Samples:
    """All samples of a layer.

    `gram_NN` = sum of x x' in float64, `on_norm` = ||targets||_F. With a folder, which is the caller's to remove, memory does not
    grow with the number of samples: it holds one block.
    """

    def __init__(self, blocks: Iterable[Block], *, folder: Path | None = None) -> None:
        self._x, self._bound, self._on = (TensorShelf(folder, name) for name in ("x", "bound", "on"))
        self.folder = folder
        self.sizes: list[int] = []
        gram_NN, on_square = torch.zeros(()), 0.0
        for number, block in enumerate(blocks):
            x_PN = block.x_PN.double()
            gram_NN = gram_NN + x_PN.T @ x_PN
            on_square += float((block.bound_PM.double() * block.on_PM).square().sum())
            self._x[number], self._bound[number], self._on[number] = block.x_PN, block.bound_PM, block.on_PM
            self.sizes.append(len(block.x_PN))
            self.inputs, self.neurons = block.x_PN.shape[1], block.bound_PM.shape[1]
            self.dtype = block.x_PN.dtype
        if not self.sizes:
            raise ValueError("no samples")
        self.gram_NN: Tensor = gram_NN
        self.on_norm = on_square**0.5

    def __len__(self) -> int:
        return sum(self.sizes)

    def __iter__(self) -> Iterator[Block]:
        for number in range(len(self.sizes)):
            yield Block(x_PN=self._x[number], bound_PM=self._bound[number], on_PM=self._on[number])

"""Networks as files: programs of torch.export, read as data and never executed code."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import torch
from torch import fx, nn

from edgekit.core.errors import BadInputError
from edgekit.core.records import write_bytes
from edgekit.federated.wire import deflated, inflated
from edgekit.networks.foreign import read_foreign_network
from edgekit.networks.lifting import lifted
from edgekit.networks.loading import load_network
from edgekit.pruning.masks import prunable

LARGEST = 1 << 28
"""Bytes of a program that a client unpacks."""


def preprocessing_of(input_shape: tuple[int, ...]) -> str:
    """As an offer says it. Supernets take pixels from 0 to 1."""
    return json.dumps({"size": input_shape[1], "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]})


def write_program(module: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """With a free batch."""
    batch = torch.export.Dim("batch")
    module = copy.deepcopy(module).eval()
    program = torch.export.export(module, (torch.zeros(2, *input_shape),), dynamic_shapes=({0: batch},))
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "network.pt2"
        torch.export.save(program, written)
        write_bytes(path, written.read_bytes())


def read_program(path: Path) -> fx.GraphModule:
    """Of any origin: it is opened in a process of its own. Raises BadInputError or ConversionError where it cannot be read."""
    return lifted(read_foreign_network(path))


def reread(module: nn.Module, input_shape: tuple[int, ...]) -> fx.GraphModule:
    """The network as whoever reads its program has it: names and their order are the program's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"
        write_program(module, input_shape, path)
        return read_program(path).requires_grad_(True)


@torch.no_grad()
def structure_of(module: fx.GraphModule, input_shape: tuple[int, ...]) -> bytes:
    """The program without the weights that can be pruned, deflated: those come with every request, as far as they are kept."""
    bare = copy.deepcopy(module)
    for weight in prunable(bare).values():
        weight.zero_()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"
        write_program(bare, input_shape, path)
        content = path.read_bytes()
    return len(content).to_bytes(8, "little") + deflated(content)


def keep_structure(content: bytes, path: Path) -> None:
    """Unpacks the program to `path` and checks it in a process of its own.

    Raises BadInputError, ConversionError or VerificationError where it cannot be read, and leaves no file then.
    """
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > LARGEST:
        raise BadInputError(
            f"the server offers a network of {size} bytes, at most {LARGEST} are taken",
            hint="start from a smaller network",
        )
    write_bytes(path, inflated(content[8:], size))
    try:
        load_network(str(path))
    except BaseException:
        path.unlink()
        raise

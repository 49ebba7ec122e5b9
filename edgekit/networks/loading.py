"""Networks that edgekit did not make, by file or by the code that makes them, checked against their source."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from edgekit.core.errors import BadInputError, UsageError, VerificationError
from edgekit.core.records import sha256_of
from edgekit.networks.exported import exported
from edgekit.networks.factory import make_network
from edgekit.networks.layers import run
from edgekit.networks.lifting import lifted

_TOLERANCE = 1e-5
"""Of the largest absolute output."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """`module` takes `x` float32 of shape (N, *`input_shape`), N free, and gives one float32 tensor (N, ...).

    `origin` says where it comes from, `sha256` is that of its file, or of the weights where code makes the network; `notes` are
    sentences for a report.
    """

    module: fx.GraphModule
    input_shape: tuple[int, ...]
    origin: str
    sha256: str
    notes: tuple[str, ...] = ()


def load_network(source: str, *, weights: Path | None = None, input_shape: tuple[int, ...] | None = None) -> Network:
    """The network of a .pt2 or .onnx file, or of "module:callable" with the weights of a file, as standard layers.

    `input_shape` is without the batch; a file knows its own. Raises UsageError for a source that is neither, BadInputError for a
    damaged file, ConversionError for a network that is not made of operators edgekit can read or has several inputs or outputs,
    VerificationError where the layers do not compute what the source computes, MissingExtraError without the onnx library.
    """
    suffix = Path(source).suffix.lower()
    if ":" in source and suffix not in {".pt2", ".onnx"}:
        return _from_code(source, weights=weights, input_shape=input_shape)
    raise UsageError(
        f"{source} is not a network that edgekit reads",
        hint='name a .pt2 file of torch.export, an .onnx file, or code as "mypkg.nets:resnet20"',
    )


def _from_code(source: str, *, weights: Path | None, input_shape: tuple[int, ...] | None) -> Network:
    if input_shape is None:
        raise UsageError(f"{source} does not say what it takes", hint="give the shape of one input, such as 3,32,32")
    network = make_network(source, weights=weights)
    state = network.state_dict()
    _check_finite(state, str(weights or source))
    program = exported(network, input_shape)
    module = lifted(program)
    notes = [_compared(module, lambda x_N: run(network, x_N), input_shape, (3, 1), f"the code of {source}")]
    return Network(
        module=module,
        input_shape=input_shape,
        origin=source if weights is None else f"{source} with {weights.name}",
        sha256=_digest(state) if weights is None else sha256_of(weights),
        notes=tuple(notes),
    )


def _check_finite(tensors: dict[str, Tensor], where: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BadInputError(f"{name} in {where} holds values that are not finite", hint="train or save it anew")


def _compared(
    module: nn.Module,
    judge: Callable[[Tensor], Tensor],
    input_shape: tuple[int, ...],
    batches: tuple[int, ...],
    what: str,
) -> str:
    """A sentence on how far the module is from its source. Raises VerificationError where that is too far."""
    worst = 0.0
    for batch in batches:
        x_N = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(batch))
        worst = max(worst, _difference(run(module, x_N), judge(x_N), what))
    rows = " and ".join(map(str, batches))
    return f"The layers give what {what} gives on seeded inputs at batch {rows}: they differ by {worst:.1e} of the largest."


def _difference(one: Tensor, other: Tensor, what: str) -> float:
    if one.shape != other.shape:
        raise VerificationError(
            f"the layers give {tuple(one.shape)} where {what} gives {tuple(other.shape)}", hint="report this network"
        )
    scale = max(other.abs().max().item(), 1e-30)
    difference = (one - other).abs().max().item() / scale
    if not math.isfinite(difference) or difference > _TOLERANCE:
        raise VerificationError(
            f"the layers differ from {what} by {difference:.1e} of the largest output, allowed {_TOLERANCE:.0e}",
            hint="the network may compute with its batch, or at random",
        )
    return difference


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()

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
from edgekit.networks.foreign import read_foreign_network, run_by_onnxruntime
from edgekit.networks.interpretation import interpreted
from edgekit.networks.layers import run
from edgekit.networks.lifting import lifted
from edgekit.networks.program import Program

_TOLERANCE = 1e-5
"""Of the largest absolute output."""
_ONNX_TOLERANCE = 1e-4
"""ONNX Runtime sums in another order."""
_NAME_THE_CODE = 'name the code that makes the network, "mypkg.nets:resnet20", and give this file as its weights'


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
    if suffix in {".pt2", ".onnx"}:
        return _from_file(Path(source), weights=weights, input_shape=input_shape)
    hints = {
        ".tflite": "give the network that the .tflite file was made from: a .pt2 or .onnx file, or the code that makes it",
        ".pt": _NAME_THE_CODE,
        ".pth": _NAME_THE_CODE,
        ".th": _NAME_THE_CODE,
        ".safetensors": _NAME_THE_CODE,
    }
    raise UsageError(
        f"{source} is not a network that edgekit reads",
        hint=hints.get(suffix, 'name a .pt2 file of torch.export, an .onnx file, or code as "mypkg.nets:resnet20"'),
    )


def _from_code(source: str, *, weights: Path | None, input_shape: tuple[int, ...] | None) -> Network:
    if input_shape is None:
        raise UsageError(
            f"{source} does not say the shape of its input", hint="give the shape of one input, such as 3,32,32"
        )
    network = make_network(source, weights=weights)
    program = exported(network, input_shape)
    _check_finite(program, str(weights or source))
    module = lifted(program)
    batches = (1,) if program.inputs[0].shape[0] == 1 else (3, 1)
    judged = _compared(module, lambda x_N: run(network, x_N), input_shape, batches, f"the code of {source}")
    return Network(
        module=module,
        input_shape=input_shape,
        origin=source if weights is None else f"{source} with {weights.name}",
        sha256=_digest(network.state_dict()) if weights is None else sha256_of(weights),
        notes=(judged, _compared_one_by_one(module, input_shape)),
    )


def _from_file(path: Path, *, weights: Path | None, input_shape: tuple[int, ...] | None) -> Network:
    if weights is not None:
        raise UsageError(f"{path} holds its own weights", hint=f"do not give {weights}")
    program = read_foreign_network(path)
    _check_finite(program, str(path))
    module = lifted(program)
    batch, *shape = program.inputs[0].shape
    if input_shape is not None and input_shape != tuple(shape):
        raise UsageError(f"{path} takes inputs of shape {tuple(shape)}, not {input_shape}", hint="do not give a shape")
    judged = None
    if path.suffix.lower() == ".onnx":
        judged = _compared_with_onnxruntime(module, path, tuple(shape), batch)
    if judged is None:
        stated = f"{path.name}, run operator by operator as edgekit reads it,"
        judged = _compared(module, lambda x_N: interpreted(program, x_N), tuple(shape), (batch,), stated)
    return Network(
        module=module,
        input_shape=tuple(shape),
        origin=path.name,
        sha256=sha256_of(path),
        notes=(judged, _compared_one_by_one(module, tuple(shape))),
    )


def _check_finite(program: Program, where: str) -> None:
    """Raises BadInputError for parameters that are not finite, and for constants, which may be masks, that are not numbers."""
    for name, tensor in program.constants.items():
        bad = tensor.isnan() if name not in program.parameters else ~tensor.isfinite()
        if bool(bad.any()):
            raise BadInputError(f"{name} in {where} holds values that are not finite", hint="train or save it again")


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
        x_N = _seeded(batch, input_shape)
        worst = max(worst, _difference(run(module, x_N), judge(x_N), what))
    rows = " and ".join(map(str, batches))
    return f"The layers give what {what} gives at batch {rows}: they differ by {worst:.1e} of the largest."


def _compared_one_by_one(module: nn.Module, input_shape: tuple[int, ...]) -> str:
    def one_by_one(x_N: Tensor) -> Tensor:
        return torch.cat([run(module, x_1) for x_1 in torch.split(x_N, 1)])

    return _compared(module, one_by_one, input_shape, (3,), "each input alone")


def _compared_with_onnxruntime(module: nn.Module, path: Path, input_shape: tuple[int, ...], batch: int) -> str | None:
    x_N = _seeded(batch, input_shape)
    outputs = run_by_onnxruntime(path, x_N.numpy())
    if outputs is None:
        return (
            f"ONNX Runtime is not installed or did not run {path.name}: the layers were compared with themselves alone."
        )
    worst = _difference(run(module, x_N), torch.from_numpy(outputs), "ONNX Runtime", tolerance=_ONNX_TOLERANCE)
    return f"The layers give what ONNX Runtime gives at batch {batch}: they differ by {worst:.1e} of the largest."


def _seeded(batch: int, input_shape: tuple[int, ...]) -> Tensor:
    return torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(batch))


def _difference(one: Tensor, other: Tensor, what: str, *, tolerance: float = _TOLERANCE) -> float:
    """Of the largest absolute output. Raises VerificationError where it is above the tolerance."""
    if one.shape != other.shape:
        raise VerificationError(
            f"the layers give {tuple(one.shape)} where {what} gives {tuple(other.shape)}",
            hint="report this network: it is a bug in edgekit",
        )
    scale = max(other.abs().max().item(), 1e-30)
    difference = (one - other).abs().max().item() / scale
    if not math.isfinite(difference) or difference > tolerance:
        raise VerificationError(
            f"the layers differ from {what} by {difference:.1e} of the largest output, allowed {tolerance:.0e}",
            hint="the network may depend on its batch, or on chance",
        )
    return difference


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()

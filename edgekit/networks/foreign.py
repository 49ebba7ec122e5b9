"""Opens foreign network files in a process of their own, under limits."""

from __future__ import annotations

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError, ConversionError, ExitCode, MissingExtraError
from edgekit.core.isolation import run_isolated
from edgekit.networks.program import Program, read_program_files

_READER = Path(__file__).with_name("_read_network.py")
_ONNX_RUNNER = Path(__file__).with_name("_run_onnx.py")
_MAX_BYTES = 256 << 20
_TIMEOUT_S = 120


def read_foreign_network(path: Path) -> Program:
    """The program of a .pt2 or .onnx file.

    Raises BadInputError where the file is missing, larger than 256 MB, damaged, or brings down what reads it; ConversionError for
    what edgekit does not read; MissingExtraError for an ONNX file without the onnx library.
    """
    if not path.is_file():
        raise BadInputError(f"{path} is not a file", hint="give a .pt2 or .onnx file")
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise BadInputError(
            f"{path} has {size / (1 << 20):.0f} MB, more than the {_MAX_BYTES >> 20} MB that edgekit opens",
            hint="edgekit is for networks that fit small boards",
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-network-") as name:
        folder = Path(name)
        try:
            run_isolated(_READER, [str(path.absolute())], path=path, folder=folder, timeout_s=_TIMEOUT_S)
        except TimeoutError as error:
            raise BadInputError(
                f"{path} could not be read within {_TIMEOUT_S} s", hint="check that the file is complete"
            ) from error
        if (folder / "error.json").exists():
            record = json.loads((folder / "error.json").read_text())
            kinds = {ExitCode.CONVERSION: ConversionError, ExitCode.MISSING_EXTRA: MissingExtraError}
            raise kinds.get(record["code"], BadInputError)(record["message"], hint=record["hint"])
        return read_program_files(folder)


def run_by_onnxruntime(path: Path, x_N: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
    """What ONNX Runtime makes of an .onnx file, None where it is not installed or cannot run the file."""
    if find_spec("onnxruntime") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edgekit-onnx-") as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", x_N, allow_pickle=False)
        try:
            run_isolated(_ONNX_RUNNER, [str(path.absolute())], path=path, folder=folder, timeout_s=_TIMEOUT_S)
        except (TimeoutError, BadInputError):
            return None
        outputs: npt.NDArray[np.float32] = np.load(folder / "outputs.npy", allow_pickle=False)
        return outputs

"""The libraries of the extras `onnx` and `nncf`, imported so that they report nothing to their makers and leave the home folder
alone."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from edgekit.core.errors import MissingExtraError

_NNCF_TELEMETRY = "openvino_telemetry"


def require(*libraries: str) -> None:
    """Raises MissingExtraError for the first that is not installed, with the extra that holds them all."""
    extra = "nncf" if "nncf" in libraries else "onnx"
    for library in libraries:
        if find_spec(library) is None:
            raise MissingExtraError(f"ONNX export needs {library}", hint=f"pip install 'edgekit[{extra}]'")


def import_onnxruntime() -> Any:
    """Raises MissingExtraError.

    From 1.29 on its Linux builds send what they run to their maker unless this variable is set when they start; it is set for child
    processes too.
    """
    require("onnxruntime")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def import_nncf() -> Any:
    """With its ONNX backend. Raises MissingExtraError.

    Its telemetry package writes to the home folder as soon as nncf is imported, whatever nncf's own switch (NNCF_CI) says; nncf
    does without where the package cannot be imported.
    """
    require("onnx", "nncf")
    import_onnxruntime()
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    hidden = {name: module for name, module in modules.items() if name == _NNCF_TELEMETRY}
    modules[_NNCF_TELEMETRY] = None
    try:
        import nncf
        import nncf.onnx.quantization.quantize_model
    finally:
        del modules[_NNCF_TELEMETRY]
        modules.update(hidden)
    return nncf

"""Imports one module: `python -P _import_library.py MODULE`. What it prints in between is dropped by who started it."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    # NNCF's telemetry writes to the home folder as soon as it is imported, see edgekit.exporters.onnx_libraries.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import_module(sys.argv[1])

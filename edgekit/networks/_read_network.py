"""Reads one foreign network: the program that `foreign.py` starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgekit.core.errors import EdgekitError
from edgekit.networks.program import write_program


def read(folder: Path, path: Path) -> None:
    """Writes the program into `folder`, or `error.json`: what a reader meant for the user."""
    try:
        if path.suffix.lower() == ".onnx":
            from edgekit.networks.onnx_reader import read_onnx

            program = read_onnx(path)
        else:
            from edgekit.networks.pt2 import read_pt2

            program = read_pt2(path)
        write_program(program, folder)
    except EdgekitError as error:
        record = {"code": int(error.code), "message": error.message, "hint": error.hint}
        (folder / "error.json").write_text(json.dumps(record))


if __name__ == "__main__":
    read(Path(sys.argv[1]), Path(sys.argv[2]))

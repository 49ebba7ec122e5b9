"""Reads the graph of one foreign model file: the program that `foreign.py` starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgekit.core.errors import EdgekitError
from edgekit.exporters.exporter import exporter_of


def read(folder: Path, path: Path, signature: str | None = None) -> None:
    """Writes `graph.json` into `folder`: the graph, or the error that a reader meant for the user."""
    try:
        graph = exporter_of(path).read_graph(path, signature=signature)
        record = {"graph": graph.to_json()}
    except EdgekitError as error:
        record = {"error": {"code": int(error.code), "message": error.message, "hint": error.hint}}
    (folder / "graph.json").write_text(json.dumps(record))


if __name__ == "__main__":
    folder, path, *signature = sys.argv[1:]
    read(Path(folder), Path(path), *signature)

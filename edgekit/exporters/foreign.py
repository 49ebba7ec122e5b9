"""The graph of a model file that edgekit did not write."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from edgekit.core.errors import BadInputError, ExitCode, MissingExtraError, UsageError
from edgekit.core.graph import Graph
from edgekit.core.isolation import run_isolated

_PROGRAM = Path(__file__).with_name("_read_graph.py")
_TIMEOUT_S = 60


def read_foreign_graph(path: Path, *, signature: str | None = None) -> Graph:
    """As `read_graph` of the exporter whose files are called so, in a process of its own.

    Raises BadInputError where the file is damaged, brings down what reads it or takes more than a minute, UsageError where it
    has no such signature, MissingExtraError for an ONNX file without the onnx library.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-graph-") as name:
        folder = Path(name)
        arguments = [str(path.absolute()), *([] if signature is None else [signature])]
        try:
            run_isolated(_PROGRAM, arguments, path=path, folder=folder, timeout_s=_TIMEOUT_S)
        except TimeoutError as error:
            raise BadInputError(
                f"{path} could not be read within {_TIMEOUT_S} s", hint="check that the file is complete"
            ) from error
        record = json.loads((folder / "graph.json").read_text())
    if "error" in record:
        kinds = {ExitCode.USAGE: UsageError, ExitCode.MISSING_EXTRA: MissingExtraError}
        kind = kinds.get(record["error"]["code"], BadInputError)
        raise kind(record["error"]["message"], hint=record["error"]["hint"])
    return Graph.from_json(record["graph"])

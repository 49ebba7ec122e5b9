"""A configuration of one build to start from: what is known as keys, the rest as comments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from edgekit.core.budget import Share
from edgekit.core.errors import UsageError
from edgekit.core.records import write_bytes
from edgekit.pipeline.build_config import BUDGET, BUDGET_KEYS, KEYS, MODEL, PATH, TASK, Key
from edgekit.supernet.storage import CARD

_OUTPUT = "out"
_HEAD = """\
# What `edgekit build` makes in this folder. Options on the command line override what stands here.
# Paths start from this file. A line that begins with #KEY shows one that could be set: take the # away.
# All keys: docs/configuration.md
"""


def write_config(path: Path, given: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """A file of those keys that are `given`, of [budget] among them, with all others as comments. Paths are those of the current
    folder; what is built will lie beside the file.

    Raises UsageError where the file exists and is not to be replaced, BadInputError where it cannot be written.
    """
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists", hint="choose another file with -o, or give --overwrite")
    values = {name: _from_file(name, value, path.parent) for name, value in given.items()}
    write_bytes(path, template({**values, "output": _OUTPUT}).encode())


def template(given: Mapping[str, Any]) -> str:
    """The text, of values as they stand in the file."""
    return "\n".join([_HEAD, _table(KEYS, given), f"[{BUDGET}]\n{_table(BUDGET_KEYS, given)}"])


def _table(keys: Sequence[Key], given: Mapping[str, Any]) -> str:
    return "\n".join(
        f"# {key.meaning}\n{'' if key.name in given else '#'}{toml_line(key.name, given.get(key.name, key.example))}"
        for key in keys
    )


def toml_line(name: str, value: Any) -> str:
    """Ends its line."""
    return tomli_w.dumps({name: value})


def _from_file(name: str, value: Any, folder: Path) -> Any:
    """A value of the command line as it stands in a file of this folder."""
    kind = next(key.kind for key in (*KEYS, *BUDGET_KEYS) if key.name == name)
    if isinstance(value, Share):
        return str(value)
    if kind is TASK:
        marked, file = value.startswith("@"), value.removeprefix("@")
        is_file = marked or (file.endswith(".txt") and Path(file).is_file())
        return f"{'@' if marked else ''}{_path_from(file, folder)}" if is_file else value
    if kind is PATH or (kind is MODEL and (Path(value).name != value or (Path(value) / CARD).is_file())):
        return _path_from(value, folder)
    return value


def _path_from(path: Path | str, folder: Path) -> str:
    return str(path) if Path(path).is_absolute() else os.path.relpath(path, folder)

"""What a machine of a Ray cluster does for a fleet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from edgekit.core.errors import MissingExtraError
from edgekit.pipeline.build_key import BuildKeys
from edgekit.pipeline.fleet.member import Failure
from edgekit.pipeline.fleet.worker import built

OWN: Final = ("devices", "tiles")
"""Folders among the user's own (`edgekit.core.data_folders`) that a build looks into."""

Files = Mapping[str, bytes]
"""Contents by their names below a folder."""


def build_there(
    job: Mapping[str, Any], inputs: Mapping[str, tuple[str, Any]], surroundings: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, Files]:
    """(why it failed, nothing), or (None, the build folder).

    `job` is as `job_of` made it; `inputs` are folders by what they are to the build, each with its name and a reference to its
    `Files`; `surroundings` are those that the key of the build was made with.
    """
    import ray

    if reason := _difference(surroundings, BuildKeys().surroundings):
        error = MissingExtraError(reason, hint="install the same versions on all machines of the cluster")
        return Failure.of(error).to_json(), {}
    with tempfile.TemporaryDirectory(prefix="edgekit-fleet-") as name, _own_folders(Path(name)) as own:
        scratch = Path(name)
        arguments = dict(job["arguments"])
        for role, (called, reference) in inputs.items():
            folder = own / role if role in OWN else scratch / role / called
            write_files(folder, ray.get(reference))
            if role not in OWN:
                arguments[role] = str(folder)
        output = scratch / "out" / Path(job["output"]).name
        failure = built({"arguments": arguments, "output": str(output)}, _unheard)
        return (failure.to_json(), {}) if failure else (None, _read(output))


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """In words; empty where there is none."""
    if theirs == ours:
        return ""
    wanted, found = ({**one["environment"], **one["environment"]["libraries"]} for one in (theirs, ours))
    odd = [
        f"{name} {found[name]}, not {wanted[name]}"
        for name in wanted
        if name != "libraries" and wanted[name] != found[name]
    ]
    return f"a machine of the cluster has {'; '.join(odd) or 'other files of edgekit'}"


@contextmanager
def _own_folders(scratch: Path) -> Iterator[Path]:
    """Where the user's own folders are looked for meanwhile."""
    variable = "XDG_CONFIG_HOME"
    before = os.environ.get(variable)
    os.environ[variable] = str(scratch / "config")
    try:
        yield scratch / "config" / "edgekit"
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def write_files(folder: Path, files: Files) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _read(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _unheard(_stage: str) -> None:
    """Ray tells nobody what goes on within a job."""

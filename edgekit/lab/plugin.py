"""The counter of executed instructions, a plug-in of qemu."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError
from edgekit.core.records import whole_folder
from edgekit.lab.sysroot import cache_folder
from edgekit.lab.tools import run_tool, tool

_MARKER = "ekcount.so"


def make_plugin() -> Path:
    """The compiled plug-in, made where the cache has none of this source.

    Raises LabError where it cannot be compiled, MissingExtraError, or BadInputError where there is no source: it is a program
    of its own in `ci/` of a checkout, and no part of the package.
    """
    source = data_folder("ci") / "lab" / "ekcount.c"
    try:
        content = source.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"cannot read {source}: {error.strerror}", hint="run the lab from a checkout of edgekit"
        ) from error
    folder = cache_folder() / f"plugin-{hashlib.sha256(content).hexdigest()[:16]}"
    plugin = folder / _MARKER
    if not plugin.is_file():
        with whole_folder(folder, overwrite=True, marker=_MARKER) as working:
            run_tool(
                [tool("gcc"), "-std=c11", "-O2", "-shared", "-fPIC", "-o", working / _MARKER, source],
                doing=f"compiling {source}",
                timeout_s=60,
            )
    return plugin

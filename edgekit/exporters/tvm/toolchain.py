"""TVM and the linker for the target, imported or found when they are needed."""

from __future__ import annotations

import platform
import shutil
from importlib.util import find_spec

from edgekit.core.errors import MissingExtraError


def require_tvm() -> None:
    """Raises MissingExtraError."""
    require("tvm", "tvm_ffi", "elftools")


def require(*libraries: str) -> None:
    """Raises MissingExtraError for the first that is not installed."""
    for library in libraries:
        if find_spec(library) is None:
            raise MissingExtraError(f"the target needs {library}", hint="pip install 'edgekit[tvm]'")


def linker_for(triple: str) -> str:
    """The compiler that links for `triple`, such as `aarch64-linux-gnu`; this machine's own for its own architecture.

    Raises MissingExtraError, with the line that installs it.
    """
    architecture = triple.partition("-")[0]
    is_ours = architecture == platform.machine()
    names = ("gcc", "clang", "cc") if is_ours else (f"{architecture}-linux-gnu-gcc",)
    for name in names:
        if found := shutil.which(name):
            return found
    packages = "gcc libc6-dev" if is_ours else f"gcc-{architecture}-linux-gnu libc6-dev-{_debian(architecture)}-cross"
    raise MissingExtraError(
        f"no linker for {architecture} is installed ({' or '.join(names)})",
        hint=f"apt-get install --no-install-recommends {packages.replace('_', '-')}",
    )


def _debian(architecture: str) -> str:
    return {"aarch64": "arm64", "x86_64": "amd64"}.get(architecture, architecture)

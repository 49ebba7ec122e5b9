"""Programs beside Python, and whether the linkers link."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from edgekit.core.errors import MissingExtraError
from edgekit.exporters.tvm.toolchain import linker_for
from edgekit.lab.tools import PACKAGES, path_of
from edgekit.pipeline.doctor.children import output_of
from edgekit.pipeline.doctor.finding import Finding, State

_TOOL_S: Final = 10.0
_ARM: Final = "aarch64"
_SOURCE: Final = "int answer(void) { return 42; }\n"
# What prints a program's version, where it has a version worth printing; what the program is for.
_TOOLS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "ssh": (("-V",), "boards over ssh, and the lab"),
    "adb": (("version",), "phones, and the lab"),
    "qemu-aarch64": (("--version",), "the lab"),
    "sshd": ((), "the lab"),
    "unshare": (("--version",), "the lab"),
}


def examine_tools(pool: Executor) -> tuple[Finding, ...]:
    linkers = pool.map(_linker, dict.fromkeys((platform.machine(), _ARM)))
    tools = pool.map(_tool, _TOOLS)
    return (*linkers, *tools)


def _linker(architecture: str) -> Finding:
    """Links a library of one function, as TVM's compiler does."""
    name, purpose = f"linker for {architecture}", "networks compiled by TVM"
    try:
        linker = linker_for(f"{architecture}-linux-gnu")
    except MissingExtraError as error:
        return Finding(
            section="tools", name=name, state=State.ABSENT, found=f"{error.message}: for {purpose}", fix=error.hint
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-doctor-") as folder:
        source = Path(folder, "answer.c")
        source.write_text(_SOURCE)
        argv = [linker, "-shared", "-fPIC", "-o", str(source.with_suffix(".so")), str(source)]
        _, failure = output_of(argv, timeout_s=_TOOL_S)
    said, _ = output_of([linker, "--version"], timeout_s=_TOOL_S)
    package = "gcc libc6-dev" if architecture == platform.machine() else f"gcc-{_ARM}-linux-gnu libc6-dev-arm64-cross"
    return Finding(
        section="tools",
        name=name,
        state=State.BROKEN if failure else State.OK,
        found=f"{linker} does not link: {failure}" if failure else f"{linker}, {_first_line(said)}",
        fix=_apt(package) if failure else "",
        facts={"path": linker},
    )


def _tool(name: str) -> Finding:
    asked, purpose = _TOOLS[name]
    path = path_of(name)
    if path is None:
        found = f"not installed: for {purpose}"
        return Finding(section="tools", name=name, state=State.ABSENT, found=found, fix=_apt(PACKAGES[name]))
    if not asked:
        return Finding(section="tools", name=name, state=State.OK, found=path, facts={"path": path})
    said, failure = output_of([path, *asked], timeout_s=_TOOL_S)
    return Finding(
        section="tools",
        name=name,
        state=State.BROKEN if failure else State.OK,
        found=f"{path} fails: {failure}" if failure else f"{path}, {_first_line(said)}",
        fix=_apt(f"--reinstall {PACKAGES[name]}") if failure else "",
        facts={"path": path},
    )


def _apt(packages: str) -> str:
    return f"apt-get install --no-install-recommends {packages}"


def _first_line(said: str) -> str:
    return said.partition("\n")[0]

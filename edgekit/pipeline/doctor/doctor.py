"""Looks at all that builds, boards and passes may need."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from typing import Final

from edgekit.devices.host import host_facts
from edgekit.pipeline.doctor.finding import Diagnosis, Finding, State
from edgekit.pipeline.doctor.runtimes import examine_runtimes
from edgekit.pipeline.doctor.storage import examine_disk, examine_keys, examine_models
from edgekit.pipeline.doctor.tools import examine_tools
from edgekit.version import VERSION

Progress = Callable[[str], None]

_LEAST_PYTHON: Final = (3, 11)
_MOST_AT_ONCE: Final = 32
_SEE_LIBRARIES: Final = "see the line of the libraries above"
# By the names of /proc/cpuinfo, those that compiled kernels depend on, see edgekit.exporters.tvm.cpu.
_KERNEL_FEATURES: Final = ("avx", "avx512f", "avx512_vnni", "avx512_fp16", "asimd", "asimddp", "asimdhp")


def doctor(*, boards: bool = False, thorough: bool = False, progress: Progress = lambda _stage: None) -> Diagnosis:
    """What works here, what does not, and the line to run for it. Changes nothing, and asks no network.

    With `boards` each board that is described is asked what it is, all at once, for at most 20 s. With `thorough` every library is
    imported, and each runtime exports and runs a network of two layers; without, what takes longer than a second to import is only
    looked for.
    """
    # A board that hangs keeps its own thread, not whoever waits for the rest.
    few, many = ThreadPoolExecutor(max_workers=os.cpu_count()), ThreadPoolExecutor(max_workers=_MOST_AT_ONCE)
    try:
        return Diagnosis(findings=tuple(_findings(few, many, boards=boards, thorough=thorough, progress=progress)))
    finally:
        few.shutdown(wait=False, cancel_futures=True)
        many.shutdown(wait=False, cancel_futures=True)


def _findings(few: Executor, many: Executor, *, boards: bool, thorough: bool, progress: Progress) -> Iterator[Finding]:
    yield from _machine()
    progress("import libraries")
    yield from _of_libraries(few, thorough=thorough, progress=progress)
    progress("look for programs")
    yield from examine_tools(few)
    progress("look at models and the disk")
    yield from examine_models()
    yield from examine_disk()
    yield examine_keys()
    progress("ask boards" if boards else "look for boards")
    yield from _of_boards(many, ask=boards)


def _of_boards(pool: Executor, *, ask: bool) -> Iterator[Finding]:
    """A session with a board needs numpy, which may be what is broken."""
    try:
        from edgekit.pipeline.doctor.boards import examine_boards, examine_lab
    except ImportError as error:
        yield Finding(
            section="boards", name="all", state=State.BROKEN, found=f"cannot be asked: {error}", fix=_SEE_LIBRARIES
        )
        return
    yield examine_lab()
    yield from examine_boards(pool, ask=ask)


def _of_libraries(pool: Executor, *, thorough: bool, progress: Progress) -> Iterator[Finding]:
    try:
        from edgekit.pipeline.doctor.libraries import examine_libraries, findings_of
    except ImportError as error:
        yield _no_libraries(f"packaging cannot be imported: {error}", "pip install --force-reinstall packaging")
        return
    try:
        libraries = examine_libraries(pool, thorough=thorough)
    except PackageNotFoundError:
        yield _no_libraries(
            "edgekit is not installed: it only lies on the path of Python, and its requirements are unknown",
            "pip install edgekit, or in a checkout: pip install -c constraints.txt -e .",
        )
        return
    yield from findings_of(libraries)
    if thorough:
        progress("try runtimes")
    yield from examine_runtimes(pool, libraries, thorough=thorough)


def _no_libraries(found: str, fix: str) -> Finding:
    return Finding(section="libraries", name="required", state=State.BROKEN, found=found, fix=fix, required=True)


def _machine() -> Iterator[Finding]:
    version = platform.python_version()
    fits = sys.version_info[:2] >= _LEAST_PYTHON
    yield Finding(
        section="machine",
        name="Python",
        state=State.OK if fits else State.BROKEN,
        found=f"{version}, {sys.executable}",
        fix="" if fits else f"install Python {'.'.join(map(str, _LEAST_PYTHON))} or later",
        required=True,
        facts={"version": version, "executable": sys.executable},
    )
    facts = {"version": VERSION, "system": platform.platform(), "machine": platform.machine()}
    yield Finding(
        section="machine", name="edgekit", state=State.OK, found=f"{VERSION} on {platform.platform()}", facts=facts
    )
    yield _processor(host_facts())


def _processor(host: Mapping[str, object]) -> Finding:
    features = host["isa_features"]
    used = [name for name in _KERNEL_FEATURES if isinstance(features, list) and name in features]
    return Finding(
        section="machine",
        name="processor",
        state=State.OK,
        found=f"{host['cpu']}, {host['cores']} cores; TVM's kernels use {', '.join(used) or 'no vector instructions'}",
        facts={"cpu": host["cpu"], "cores": host["cores"], "kernel_features": used},
    )

"""The libraries that edgekit requires and those of its extras: in which version, and whether they can be imported."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from edgekit.pipeline.doctor.children import output_of
from edgekit.pipeline.doctor.finding import Finding, State, worst

_IMPORT: Final = Path(__file__).with_name("_import_library.py")
_IMPORT_S: Final = 60.0
_FOR_DEVELOPERS: Final = "dev"
# Where the module is not called as its distribution.
_MODULES: Final[Mapping[str, str]] = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "apache-tvm": "tvm",
    "apache-tvm-ffi": "tvm_ffi",
    "pillow": "PIL",
    "pycryptodome": "Crypto",
    "pyelftools": "elftools",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
# More than a second each, most of it the import of torch.
_SLOW: Final = frozenset({"apache-tvm", "apache-tvm-ffi", "litert-torch", "nncf", "torch-pruning"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """One that is required, or was looked at: `state` says how it is, and `problem` what is wrong with it."""

    requirement: Requirement
    version: str
    state: State
    problem: str = ""

    @property
    def name(self) -> str:
        return self.requirement.name

    @property
    def text(self) -> str:
        """As pip is asked for it."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        return f"{self.name}{extras}{self.requirement.specifier}"


def required_libraries() -> dict[str, tuple[Requirement, ...]]:
    """By extra, "" for what edgekit always needs: what is required on this machine. Raises PackageNotFoundError where edgekit is
    not installed."""
    everything = [Requirement(line) for line in requires("edgekit") or ()]
    extras = [name for name in metadata("edgekit").get_all("Provides-Extra") or () if name != _FOR_DEVELOPERS]
    always = [one for one in everything if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {"": tuple(always)} | {
        extra: tuple(
            one for one in everything if one.marker and one.marker.evaluate({"extra": extra}) and one not in always
        )
        for extra in extras
    }


def examine_libraries(pool: Executor, *, thorough: bool) -> dict[str, tuple[Library, ...]]:
    """By extra, each imported in a process of its own; those that take long, only where the examination is `thorough`.

    Raises PackageNotFoundError.
    """
    wanted = required_libraries()
    asked = {str(one): one for requirements in wanted.values() for one in requirements}
    by_module = {_module(one): one for one in asked.values()}
    # The slowest first: they decide when all have ended.
    order = sorted(by_module, key=lambda module: by_module[module].name not in (*_SLOW, "torch"))
    running = {by_module[module].name: pool.submit(_examine, by_module[module], thorough=thorough) for module in order}
    found = {name: future.result() for name, future in running.items()}
    return {extra: tuple(found[one.name] for one in requirements) for extra, requirements in wanted.items()}


def findings_of(libraries: Mapping[str, tuple[Library, ...]]) -> Iterable[Finding]:
    """One for what is always needed, one for each extra."""
    for extra, members in libraries.items():
        bad = [one for one in members if one.problem]
        state = worst([one.state for one in members])
        lacks_only = bool(bad) and all(one.state is State.ABSENT for one in bad)
        fix = f"pip install 'edgekit[{extra}]'" if extra and lacks_only else _fix(bad)
        yield Finding(
            section="extras" if extra else "libraries",
            name=extra or "required",
            state=state,
            found=_told(members, bad),
            fix=fix,
            required=not extra,
            facts={"libraries": {one.name: _facts(one) for one in members}},
        )


def _examine(requirement: Requirement, *, thorough: bool) -> Library:
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return Library(requirement=requirement, version="", state=State.ABSENT, problem="is not installed")
    if not requirement.specifier.contains(installed, prereleases=True):
        problem = f"{installed} is installed, and {requirement.specifier} is needed"
        return Library(requirement=requirement, version=installed, state=State.BROKEN, problem=problem)
    if requirement.name in _SLOW and not thorough:
        return Library(requirement=requirement, version=installed, state=State.UNTRIED)
    _, failure = output_of([sys.executable, "-P", str(_IMPORT), _module(requirement)], timeout_s=_IMPORT_S)
    if failure:
        problem = f"cannot be imported: {failure}"
        return Library(requirement=requirement, version=installed, state=State.BROKEN, problem=problem)
    return Library(requirement=requirement, version=installed, state=State.OK)


def _module(requirement: Requirement) -> str:
    return _MODULES.get(requirement.name.lower(), requirement.name.replace("-", "_"))


def _told(members: tuple[Library, ...], bad: list[Library]) -> str:
    if bad:
        return "; ".join(f"{one.name} {one.problem}" for one in bad)
    listed = ", ".join(f"{one.name} {one.version}" for one in members)
    untried = [one.name for one in members if one.state is State.UNTRIED]
    return f"{listed}; not imported (--thorough): {', '.join(untried)}" if untried else listed


def _fix(bad: list[Library]) -> str:
    """One line for all: what is broken in the right version is installed again."""
    if not bad:
        return ""
    wrong_files = any(one.problem.startswith("cannot be imported") for one in bad)
    options = ["--force-reinstall", "--no-deps"] if wrong_files else []
    return shlex.join(["pip", "install", *options, *(one.text for one in bad)])


def _facts(one: Library) -> dict[str, str]:
    return {"version": one.version, "state": one.state.value, "problem": one.problem}

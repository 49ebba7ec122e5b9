"""What each runtime can do here: told from its libraries and programs, or tried on a network of two layers."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from edgekit.core.errors import MissingExtraError
from edgekit.exporters.tvm.toolchain import linker_for
from edgekit.pipeline.doctor.children import output_of
from edgekit.pipeline.doctor.finding import Finding, State, worst
from edgekit.pipeline.doctor.libraries import Library

_TRY: Final = Path(__file__).with_name("_try_runtime.py")
_TRY_S: Final = 180.0
_ARM: Final = "aarch64"
# What each ability takes.
_ABILITIES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "tflite": {
        "run": ("ai-edge-litert",),
        "export": ("torch", "litert-torch"),
        "quantise": ("ai-edge-quantizer",),
    },
    "onnx": {
        "run": ("onnxruntime",),
        "export": ("onnx", "onnxscript"),
        "quantise": ("nncf",),
    },
    "tvm": {"compile": ("apache-tvm", "apache-tvm-ffi", "pyelftools", "onnx", "onnxscript"), "quantise": ("nncf",)},
}
_ALWAYS_THERE: Final = "tflite"


def examine_runtimes(
    pool: Executor, libraries: Mapping[str, tuple[Library, ...]], *, thorough: bool
) -> tuple[Finding, ...]:
    known = {one.name: one for members in libraries.values() for one in members}
    told = tuple(_told(known))
    if not thorough:
        return told
    able = [finding for finding in told if finding.state in (State.OK, State.UNTRIED)]
    tried = {finding.name: pool.submit(_tried, finding) for finding in able}
    return tuple(tried[finding.name].result() if finding.name in tried else finding for finding in told)


def _told(known: Mapping[str, Library]) -> Iterator[Finding]:
    for runtime, abilities in _ABILITIES.items():
        if runtime == "tvm":
            for architecture in dict.fromkeys((platform.machine(), _ARM)):
                yield _compiles(abilities, known, architecture)
        else:
            yield _finding(runtime, runtime, abilities, known)


def _finding(
    name: str, runtime: str, abilities: Mapping[str, tuple[str, ...]], known: Mapping[str, Library]
) -> Finding:
    able, states, lacking = [], [], []
    for ability, libraries in abilities.items():
        missing = [library for library in libraries if library not in known or known[library].problem]
        if missing:
            lacking.append(f"cannot {ability}: needs {' and '.join(missing)}")
            states += [known[library].state if library in known else State.ABSENT for library in missing]
        else:
            able.append(ability)
            states += [known[library].state for library in libraries]
    no_wheel = [one for libraries in abilities.values() for one in libraries if one not in known]
    if no_wheel:
        fix = "build on an x86-64 or Apple machine: there is no wheel for this one"
    else:
        fix = "see the line of the libraries above" if lacking else ""
    sentences = [f"can {', '.join(able)}"] if able else []
    return Finding(
        section="runtimes",
        name=name,
        state=worst(states),
        found="; ".join([*sentences, *lacking]),
        fix=fix,
        required=runtime == _ALWAYS_THERE,
        facts={"runtime": runtime, "can": able},
    )


def _compiles(abilities: Mapping[str, tuple[str, ...]], known: Mapping[str, Library], architecture: str) -> Finding:
    name = f"tvm for {architecture}"
    finding = _finding(name, "tvm", abilities, known)
    if finding.state in (State.ABSENT, State.BROKEN):
        return finding
    try:
        linker_for(f"{architecture}-linux-gnu")
    except MissingExtraError as error:
        return Finding(
            section="runtimes",
            name=name,
            state=State.ABSENT,
            found=f"cannot compile: {error.message}",
            fix=error.hint,
            facts={"runtime": "tvm", "can": []},
        )
    return finding


def _tried(told: Finding) -> Finding:
    """Exports two layers in int8 and runs the file, where it is one for this machine."""
    runtime = str(told.facts["runtime"])
    device = "rpi4" if told.name.endswith(_ARM) and platform.machine() != _ARM else "host"
    said, failure = output_of([sys.executable, "-P", str(_TRY), runtime, device], timeout_s=_TRY_S)
    return Finding(
        section=told.section,
        name=told.name,
        state=State.BROKEN if failure else State.OK,
        found=f"a network of two layers fails: {failure}" if failure else said.splitlines()[-1],
        fix="edgekit doctor --thorough --json tells what is installed" if failure else "",
        required=told.required,
        facts={**told.facts, "tried": True},
    )

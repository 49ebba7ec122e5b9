"""Writes what runs a build's network without edgekit: `run.py`, and in `deploy` instructions, a service and snippets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import Final

import numpy as np

from edgekit.core.records import write_bytes
from edgekit.deploy.network import End, Network, Networks, networks_of
from edgekit.deploy.single_file import single_file
from edgekit.exporters.exporter import exporter_of

PROGRAM: Final = "run.py"
FOLDER: Final = "deploy"
_HERE = Path(__file__).parent
_LONGEST_NAME = 32
_LISTED = 8
# The distributions of a runtime.
_DISTRIBUTIONS = {
    "tflite": ("ai-edge-litert",),
    "onnx": ("onnxruntime",),
    "tvm": ("apache-tvm", "apache-tvm-ffi"),
}


def write_kit(folder: Path) -> None:
    """Nothing for networks that do not say what they see in pictures. The same folder and versions give the same files."""
    networks = networks_of(folder)
    if networks is None:
        return
    runtime = exporter_of(networks.stages[0].path).runtime
    modules = ("refusal", f"network_{runtime}", "pictures", "camera", "run")
    _write(folder / PROGRAM, single_file([_HERE / "programs" / f"{module}.py" for module in modules]))
    facts, name = _facts(networks, runtime), name_of(networks)
    _write(folder / FOLDER / "README.md", _filled("README.md", facts))
    described = facts["DESCRIPTION"].replace("%", "%%").replace("\\", "/")  # of systemd's special characters
    _write(folder / FOLDER / f"edgekit-{name}.service", _filled("service", facts | {"DESCRIPTION": described}))
    if runtime != "tvm":
        network = _filled(f"network_{runtime}.cpp", facts)
        written = {
            "STAGES": _listed(map(_cpp_stage, networks.stages)),
            "LABELS": _listed(map(_quoted, _labels(networks))),
        }
        _write(folder / FOLDER / "classify.cpp", _filled("classify.cpp", facts | written | {"RUNTIME": network}))
    if runtime == "tflite":
        written = {
            "STAGES": _listed(map(_kotlin_stage, networks.stages)),
            "LABELS": _listed(_quoted(label).replace("$", "\\$") for label in _labels(networks)),
        }
        _write(folder / FOLDER / "Classifier.kt", _filled("Classifier.kt", facts | written))


def name_of(networks: Networks) -> str:
    """Of a folder and a service on a board: the labels, as far as they are short and ASCII."""
    words = re.sub(r"[^a-z0-9]+", " ", " ".join(_labels(networks)).lower()).strip()
    return shorten(words, _LONGEST_NAME, placeholder="").replace(" ", "-") or "pictures"


def _labels(networks: Networks) -> tuple[str, ...]:
    return networks.stages[-1].labels


def _facts(networks: Networks, runtime: str) -> dict[str, str]:
    labels, last = _labels(networks), networks.stages[-1]
    files = list(dict.fromkeys(stage.path.name for stage in networks.stages))
    sizes = " then ".join(
        dict.fromkeys(f"{one.preprocessing.width} x {one.preprocessing.height}" for one in networks.stages)
    )
    mean, std = (
        ", ".join(f"{value:g}" for value in values) for values in (last.preprocessing.mean, last.preprocessing.std)
    )
    channels_last = exporter_of(last.path).channels_last
    common = {
        "NAME": name_of(networks),
        "MODEL": " and ".join(f"`{file}`" for file in files),
        "FILES": " and ".join(files),
        "DESCRIPTION": ", ".join(" ".join(label.split()) for label in labels[:_LISTED])
        + (f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""),
        "PREPROCESSING": f"RGB, {sizes} pixels, `(x / 255 - mean) / std` with mean {mean} and std {std}",
        "INSTALL": " ".join(f"{one}=={version(one)}" for one in (*_DISTRIBUTIONS[runtime], "pillow")),
        "LITERT": version("ai-edge-litert"),
        "THRESHOLD": _float(networks.threshold),
        "PROBABILITIES": "true" if last.probabilities else "false",
        "LAYOUT": "Channels last" if channels_last else "Channels first",
        "INDEX": "3 * at + c" if channels_last else "c * area + at",
        "INPUT": last.input.name,
        "OUTPUT": last.output.name,
    }
    parts = {"SYSTEMS": f"systems_{runtime}.md", "SNIPPETS": f"cpp_{runtime}.md"}
    return common | {name: _filled(template, common) for name, template in parts.items()}


def _cpp_stage(stage: Network) -> str:
    size = f"{stage.preprocessing.height}, {stage.preprocessing.width}"
    mean, std = (", ".join(f"{_float(value)}f" for value in values) for values in _normalisation(stage))
    ends = ", ".join(_cpp_end(end) for end in (stage.input, stage.output))
    named = f"{_quoted(stage.name)}, {_quoted(stage.path.name)}, {stage.number}"
    return f"{{{named}, {size}, {{{mean}}}, {{{std}}}, {ends}}}"


def _cpp_end(end: End) -> str:
    return f"{{{'true' if end.is_int8 else 'false'}, {_float(end.scale)}f, {end.zero}}}"


def _kotlin_stage(stage: Network) -> str:
    size = f"{stage.preprocessing.height}, {stage.preprocessing.width}"
    mean, std = (", ".join(f"{_float(value)}f" for value in values) for values in _normalisation(stage))
    ends = ", ".join(
        f"End({_quoted(end.name)}, {'true' if end.is_int8 else 'false'}, {_float(end.scale)}f, {end.zero})"
        for end in (stage.input, stage.output)
    )
    signature = "null" if stage.signature is None else _quoted(stage.signature)
    named = f"{_quoted(stage.name)}, {_quoted(stage.path.name)}, {signature}"
    return f"Stage({named}, {size}, floatArrayOf({mean}), floatArrayOf({std}), {ends})"


def _normalisation(stage: Network) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return stage.preprocessing.mean, stage.preprocessing.std


def _listed(items: Iterable[str]) -> str:
    """One a line, within the brackets of a list."""
    return ",".join(f"\n    {item}" for item in items) + "\n"


def _float(value: float) -> str:
    """The shortest text that is read as the same float32."""
    return np.format_float_positional(np.float32(value), unique=True, trim="0")


def _quoted(text: str) -> str:
    """A string literal of C++ and of Kotlin, but for Kotlin's dollar."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _filled(template: str, facts: Mapping[str, str]) -> str:
    text = (_HERE / "templates" / template).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda found: facts[found[1]], text)


def _write(path: Path, text: str) -> None:
    write_bytes(path, text.encode())

"""What the way of a build knows of a runtime: how its files are made, run and read; and which runtimes there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.graph import Graph
from edgekit.core.model import Model
from edgekit.core.names import did_you_mean
from edgekit.devices.target import Target
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.check import Check
from edgekit.exporters.metadata import Metadata
from edgekit.exporters.onnx_exporter import OnnxExporter
from edgekit.exporters.runner import RunResult
from edgekit.exporters.tflite_exporter import TfliteExporter
from edgekit.exporters.tvm_exporter import TvmExporter

Floats = npt.NDArray[np.float32]


class Exporter(Protocol):
    """One runtime. Arrays lie as in `edgekit.exporters.layout`, whatever the format: pictures channels last.

    Heavy libraries are imported within the methods. `channels_last` says whether its files themselves are so at their ends, for
    those who hand them arrays past it; `float_ends`, whether a quantised file takes and gives float32 there. `quantizers` are the
    passes that decide what it quantises, the first that of an int8 target.
    """

    runtime: ClassVar[str]
    suffix: ClassVar[str]
    channels_last: ClassVar[bool]
    float_ends: ClassVar[bool]
    quantizers: ClassVar[tuple[str, ...]]

    def check_installed(self, target: Target) -> None:
        """Raises MissingExtraError, with the line to install it, for what `export` or `run` needs for the target."""

    def export(self, model: Model, *, target: Target, calibration_N: Floats, folder: Path) -> Artifact:
        """Writes `model` + suffix into `folder`, labels and preprocessing inside; where it is quantised, its reference in float32
        beside it.

        What is quantised the model says; one that says nothing is made int8 where the target is. `calibration_N` are preprocessed
        inputs, which float32 does not look at. Raises ConversionError, BadInputError, MissingExtraError.
        """

    def gather(self, artifacts: Mapping[str, Artifact], folder: Path) -> dict[str, Artifact]:
        """Brings networks by name, the file of each in a folder of its own, together in `folder`: where the format has signatures
        in one file `model` + suffix, the last being what programs get that ask for none; else each is moved to name + suffix."""

    def run(
        self, path: Path, x_N: Floats, *, threads: int = 1, timeout_s: float = 60, signature: str | None = None
    ) -> RunResult:
        """What the file answers to preprocessed inputs, in a process of its own. Raises BadInputError where it does not run."""

    def read_metadata(self, path: Path, *, signature: str | None = None) -> Metadata:
        """What `export` wrote beside the network. Raises BadInputError for a file that is damaged or not from edgekit, UsageError
        where it has no such signature."""

    def read_graph(self, path: Path, *, signature: str | None = None) -> Graph:
        """What the file executes, read without running it. Raises BadInputError, UsageError."""

    def checks(self, model: Model, artifact: Artifact, graph: Graph) -> tuple[Check, ...]:
        """What there is to verify in files of this format alone; `graph` is what `read_graph` reads in it."""


EXPORTERS: tuple[Exporter, ...] = (TfliteExporter(), OnnxExporter(), TvmExporter())

MODEL_FILES: tuple[str, ...] = tuple(f"model{exporter.suffix}" for exporter in EXPORTERS)
"""What `export` calls its file, and so what the model of a build folder may be called."""


def exporter_for(runtime: str) -> Exporter:
    """Raises UsageError for a runtime that nothing is exported to."""
    by_name = {exporter.runtime: exporter for exporter in EXPORTERS}
    try:
        return by_name[runtime]
    except KeyError as error:
        raise UsageError(f'no exporter makes files for "{runtime}"', hint=did_you_mean(runtime, by_name)) from error


def exporter_of(path: Path) -> Exporter:
    """The one whose files are called so. Raises BadInputError for another suffix."""
    by_suffix = {exporter.suffix: exporter for exporter in EXPORTERS}
    try:
        return by_suffix[path.suffix.lower()]
    except KeyError as error:
        raise BadInputError(
            f"{path} is not a file of a runtime that edgekit knows", hint=did_you_mean(path.suffix, by_suffix)
        ) from error

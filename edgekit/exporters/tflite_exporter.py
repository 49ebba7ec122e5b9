"""TFLite, now LiteRT, as one of the runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgekit.core.graph import Graph
from edgekit.core.model import Model
from edgekit.devices.target import Target
from edgekit.exporters.artifact import Artifact, write_artifact
from edgekit.exporters.check import Check, none_of
from edgekit.exporters.merge import merge
from edgekit.exporters.metadata import Metadata, read_metadata, with_labels
from edgekit.exporters.runner import RunResult, run_in_subprocess
from edgekit.exporters.tflite import export
from edgekit.exporters.tflite_graph import read_graph

Floats = npt.NDArray[np.float32]

_KNOWN_OPERATORS = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DENSIFY",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "HARD_SWISH",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MEAN",
        "MUL",
        "PAD",
        "QUANTIZE",
        "RELU",
        "RELU6",
        "RESHAPE",
        "SOFTMAX",
    }
)


class TfliteExporter:
    """Its libraries are those that edgekit always has."""

    runtime: ClassVar[str] = "tflite"
    suffix: ClassVar[str] = ".tflite"
    channels_last: ClassVar[bool] = True
    float_ends: ClassVar[bool] = False
    quantizers: ClassVar[tuple[str, ...]] = ("quant::int8", "quant::int4_weights")

    def check_installed(self, target: Target) -> None:
        """There is nothing to miss."""

    def export(self, model: Model, *, target: Target, calibration_N: Floats, folder: Path) -> Artifact:
        return export(model, precision=target.precision, calibration_N=calibration_N, folder=folder)

    def gather(self, artifacts: Mapping[str, Artifact], folder: Path) -> dict[str, Artifact]:
        """In one file, which stores the weights that they share once."""
        paths = {name: artifacts[name].path for name in reversed(list(artifacts))}
        labels = read_metadata(next(iter(paths.values()))).labels
        merged = merge({name: path.read_bytes() for name, path in paths.items()})
        together = write_artifact(with_labels(merged, labels) if labels else merged, folder / f"model{self.suffix}")
        return {
            name: replace(
                artifact,
                path=together.path,
                sha256=together.sha256,
                size_bytes=together.size_bytes,
                signature=name,
            )
            for name, artifact in artifacts.items()
        }

    def run(
        self, path: Path, x_N: Floats, *, threads: int = 1, timeout_s: float = 60, signature: str | None = None
    ) -> RunResult:
        return run_in_subprocess(path, x_N, threads=threads, timeout_s=timeout_s, signature=signature)

    def read_metadata(self, path: Path, *, signature: str | None = None) -> Metadata:
        return read_metadata(path, signature=signature)

    def read_graph(self, path: Path, *, signature: str | None = None) -> Graph:
        return read_graph(path, signature=signature)

    def checks(self, model: Model, artifact: Artifact, graph: Graph) -> tuple[Check, ...]:
        """That all operators are known, and that a full integer file has none on float32."""
        unknown = [name for name in graph.census if not _is_expected(name, model)]
        expected = none_of("unexpected operators", unknown)
        if not artifact.is_full_integer:
            return (expected,)
        floats = graph.dtypes.get("float32", 0)
        return expected, Check(name="operators on float32", value=floats, relation="==", limit=0)


def _is_expected(name: str, model: Model) -> bool:
    """An assembled network consists of operators that are known. Of one that came from elsewhere, or that passes have changed,
    every runtime must have them."""
    from torch import fx

    is_assembled = "genotype" in model.provenance and not isinstance(model.module, fx.GraphModule)
    return name in _KNOWN_OPERATORS if is_assembled else not name.startswith("CUSTOM")

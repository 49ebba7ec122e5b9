"""ONNX Runtime as one of the runtimes. In its files pictures are channels first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import UsageError
from edgekit.core.graph import Graph
from edgekit.core.model import Model
from edgekit.devices.precision import Precision
from edgekit.devices.target import Target
from edgekit.exporters.artifact import Artifact, moved
from edgekit.exporters.check import Check, none_of
from edgekit.exporters.layout import to_file, to_torch
from edgekit.exporters.metadata import Metadata
from edgekit.exporters.onnx_file import export_onnx, read_onnx_metadata
from edgekit.exporters.onnx_graph import read_onnx_graph
from edgekit.exporters.onnx_libraries import require
from edgekit.exporters.onnx_quantization import layers_by_precision
from edgekit.exporters.runner import RunResult, run_in_subprocess

Floats = npt.NDArray[np.float32]


class OnnxExporter:
    runtime: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    channels_last: ClassVar[bool] = False
    float_ends: ClassVar[bool] = True
    quantizers: ClassVar[tuple[str, ...]] = ("quant::nncf",)

    def check_installed(self, target: Target) -> None:
        require("onnx", "onnxscript", "onnxruntime", *(["nncf"] if target.precision is Precision.INT8 else []))

    def export(self, model: Model, *, target: Target, calibration_N: Floats, folder: Path) -> Artifact:
        return export_onnx(model, precision=target.precision, calibration_N=to_torch(calibration_N), folder=folder)

    def gather(self, artifacts: Mapping[str, Artifact], folder: Path) -> dict[str, Artifact]:
        return {name: moved(artifact, folder / f"{name}{self.suffix}") for name, artifact in artifacts.items()}

    def run(
        self, path: Path, x_N: Floats, *, threads: int = 1, timeout_s: float = 60, signature: str | None = None
    ) -> RunResult:
        _check_is_one_network(path, signature)
        result = run_in_subprocess(path, to_torch(x_N), threads=threads, timeout_s=timeout_s)
        return replace(result, outputs=to_file(result.outputs))

    def read_metadata(self, path: Path, *, signature: str | None = None) -> Metadata:
        _check_is_one_network(path, signature)
        return read_onnx_metadata(path)

    def read_graph(self, path: Path, *, signature: str | None = None) -> Graph:
        _check_is_one_network(path, signature)
        return read_onnx_graph(path)

    def checks(self, model: Model, artifact: Artifact, graph: Graph) -> tuple[Check, ...]:  # noqa: ARG002 (of all exporters)
        """That all operators are ONNX's own, and that an int8 file computes in float32 what it is meant to, and nothing else."""
        foreign = none_of("unexpected operators", [name for name in graph.census if name.startswith("CUSTOM")])
        if artifact.quantization is None:
            return (foreign,)
        kept = artifact.quantization.kept_float
        layers = layers_by_precision(artifact.path.read_bytes())
        wrong = [name for name, quantised in layers.items() if quantised == (name in kept)]
        return foreign, none_of("layers in another precision than meant", wrong)


def _check_is_one_network(path: Path, signature: str | None) -> None:
    if signature is not None:
        raise UsageError(f"{path} has no variants", hint="leave --variant out")

"""TVM as one of the runtimes: a shared library for the device's processor, and a twin of it for this machine's."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.graph import Graph
from edgekit.core.model import Model
from edgekit.devices.precision import Precision
from edgekit.devices.target import Target
from edgekit.exporters.artifact import Artifact, moved, write_artifact
from edgekit.exporters.check import Check, none_of
from edgekit.exporters.conversion import converting
from edgekit.exporters.layout import to_torch
from edgekit.exporters.metadata import Metadata, from_json, to_json
from edgekit.exporters.onnx_exporter import OnnxExporter
from edgekit.exporters.onnx_file import export_onnx
from edgekit.exporters.onnx_graph import read_onnx_graph
from edgekit.exporters.runner import RunResult, run_in_subprocess
from edgekit.exporters.tvm.compiler import KERNELS, Kernel, compile_for_device, compile_for_host, tuning_notes
from edgekit.exporters.tvm.half import HALF
from edgekit.exporters.tvm.library import architecture_of, read_record
from edgekit.exporters.tvm.toolchain import linker_for, require_tvm

Floats = npt.NDArray[np.float32]

_METADATA, _GRAPH = "metadata", "graph"


class TvmExporter:
    runtime: ClassVar[str] = "tvm"
    suffix: ClassVar[str] = ".so"
    channels_last: ClassVar[bool] = True
    float_ends: ClassVar[bool] = True
    quantizers: ClassVar[tuple[str, ...]] = ("quant::nncf",)

    def check_installed(self, target: Target) -> None:
        OnnxExporter().check_installed(target)
        require_tvm()
        linker_for(target.device.triple)

    def export(self, model: Model, *, target: Target, calibration_N: Floats, folder: Path) -> Artifact:
        """Where the target's processor is another than this machine's, a twin for this machine lies beside `model.so`."""
        onnx = export_onnx(model, precision=target.precision, calibration_N=to_torch(calibration_N), folder=folder)
        half = target.precision is Precision.FP16 and onnx.quantization is None
        graph, network, reference = read_onnx_graph(onnx.path), onnx.path.read_bytes(), onnx.reference
        if half:
            graph = replace(graph, dtypes={HALF: len(graph.operators)})
            reference = moved(onnx, folder / "model.fp32.onnx")
        else:
            onnx.path.unlink()
        record = {_METADATA: json.loads(to_json(model)), _GRAPH: graph.to_json()}
        path = folder / f"model{self.suffix}"
        with converting("the network", to="TVM"):
            kernels = compile_for_device(network, target.device, path, record, half=half)
            if architecture_of(path) != platform.machine():
                compile_for_host(network, twin_of(path), record, half=half)
        artifact = write_artifact(path.read_bytes(), path, onnx.quantization, reference)
        precision = Precision.FP16 if half else artifact.precision
        return replace(artifact, precision=precision, notes=tuning_notes(kernels))

    def gather(self, artifacts: Mapping[str, Artifact], folder: Path) -> dict[str, Artifact]:
        """Each with its twin."""
        gathered = {name: moved(artifact, folder / f"{name}{self.suffix}") for name, artifact in artifacts.items()}
        for name, artifact in artifacts.items():
            if (twin := twin_of(artifact.path)).is_file():
                twin.rename(twin_of(gathered[name].path))
        return gathered

    def run(
        self, path: Path, x_N: Floats, *, threads: int = 1, timeout_s: float = 60, signature: str | None = None
    ) -> RunResult:
        """Of a library for another processor its twin is run."""
        _check_is_one_network(path, signature)
        architecture = architecture_of(path)
        runs_here = architecture == platform.machine()
        if not (runs_here or twin_of(path).is_file()):
            raise BadInputError(
                f"{path} is compiled for {architecture}, and {twin_of(path).name}, the file for this machine, is not beside it",
                hint="keep the two files together; `edgekit profile --board` measures the file without the other one",
            )
        return run_in_subprocess(path if runs_here else twin_of(path), x_N, threads=threads, timeout_s=timeout_s)

    def read_metadata(self, path: Path, *, signature: str | None = None) -> Metadata:
        _check_is_one_network(path, signature)
        try:
            return from_json(read_record(path)[_METADATA])
        except (LookupError, TypeError, ValueError) as error:
            raise BadInputError(f"the metadata in {path} is damaged: {error}", hint="export the file again") from error

    def read_graph(self, path: Path, *, signature: str | None = None) -> Graph:
        """What was compiled, as the library's own record says."""
        _check_is_one_network(path, signature)
        try:
            return Graph.from_json(read_record(path)[_GRAPH])
        except (LookupError, TypeError, ValueError) as error:
            raise BadInputError(f"the record in {path} is damaged: {error}", hint="export the file again") from error

    def checks(self, model: Model, artifact: Artifact, graph: Graph) -> tuple[Check, ...]:  # noqa: ARG002 (of all exporters)
        """That all operators are ONNX's own."""
        return (none_of("unexpected operators", [name for name in graph.census if name.startswith("CUSTOM")]),)


def kernels_of(path: Path) -> tuple[Kernel, ...]:
    """The kernels of a library that `export` wrote. Raises BadInputError."""
    try:
        return tuple(Kernel.from_json(record) for record in read_record(path)[KERNELS])
    except (LookupError, TypeError, ValueError) as error:
        raise BadInputError(f"the record in {path} is damaged: {error}", hint="export the file again") from error


def twin_of(path: Path) -> Path:
    """The same network for this machine's processor."""
    return path.with_suffix(f".{platform.machine()}{path.suffix}")


def _check_is_one_network(path: Path, signature: str | None) -> None:
    if signature is not None:
        raise UsageError(f"{path} has no variants", hint="leave --variant out")

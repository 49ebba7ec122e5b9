"""Random networks of a supernet with all its labels, each as a file of every runtime and precision, made once and kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from baselines.dense import all_of
from harness import REPO_ROOT
from numpy.typing import NDArray

from edgekit.core.images import to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.core.records import sha256_of, write_json
from edgekit.devices.precision import Precision
from edgekit.devices.target import Target, parse_target
from edgekit.exporters.exporter import EXPORTERS, Exporter, exporter_for
from edgekit.exporters.layout import to_torch
from edgekit.exporters.tvm_exporter import twin_of
from edgekit.pipeline.calibration_pictures import at_size
from edgekit.pipeline.probes import random_genotypes
from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import CALIBRATION, WEIGHTS, SupernetFolder
from edgekit.supernet.subnet import slice_subnet

Floats = NDArray[np.float32]

FILES = REPO_ROOT / "runs" / "runtime_files"
DEVICE = "rpi4"
RUNTIMES = tuple(exporter.runtime for exporter in EXPORTERS)
KINDS = tuple((runtime, precision) for runtime in RUNTIMES for precision in (Precision.FP32, Precision.INT8))
"""What each network is exported to."""
_RECORD, _SCHEMA = "file.json", 1
_PICTURES_AT_ONCE = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """One of all labels, with the pictures that int8 is calibrated with, at its size and channels last."""

    genotype: Genotype
    model: Model
    calibration_N: Floats

    @property
    def size(self) -> int:
        return self.model.input_shape[-1]

    @property
    def macs(self) -> int:
        return sum(operator.macs for operator in self.model.operators)

    def pictures(self, x_NHWC: Floats) -> Floats:
        """At its own size."""
        return at_size(x_NHWC, self.size)

    @torch.inference_mode()
    def torch_answers(self, x_NHWC: Floats) -> Floats:
        """`y_NK` of pictures of its own size."""
        parts = torch.split(torch.from_numpy(to_torch(x_NHWC)), _PICTURES_AT_ONCE)
        return torch.cat([self.model.module(part) for part in parts]).numpy()


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkFile:
    runtime: str
    precision: Precision
    path: Path

    @property
    def exporter(self) -> Exporter:
        return exporter_for(self.runtime)

    @property
    def on_host(self) -> Path:
        """The file that this machine runs in its place."""
        return twin_of(self.path) if twin_of(self.path).is_file() else self.path

    def as_stored(self, x_NHWC: Floats) -> Floats:
        """Pictures laid out as in the file."""
        return x_NHWC if self.exporter.channels_last else to_torch(x_NHWC)


def networks(folder: SupernetFolder, count: int, seed: int) -> Iterator[Network]:
    spec, task = folder.spec, all_of(folder.spec)
    supernet = folder.load(folder.read_tensors(WEIGHTS))
    shipped_NHWC = folder.read_tensors(CALIBRATION)["x_NHWC"].numpy()
    for genotype in random_genotypes(spec, seed)[:count]:
        size = spec.image_size_of(genotype)
        preprocessing = Preprocessing(height=size, width=size)
        yield Network(
            genotype=genotype,
            model=Model(
                module=slice_subnet(supernet, genotype, task).eval(),
                input_shape=(3, size, size),
                labels=task.outputs(folder.vocabulary),
                preprocessing=preprocessing,
                operators=describe(spec, genotype, rows=len(task.indices), sums=None),
                provenance={"supernet": folder.name, "genotype": str(genotype)},
            ),
            calibration_N=at_size(to_float(shipped_NHWC, preprocessing), size),
        )


def target_of(runtime: str, precision: Precision) -> Target:
    return parse_target(f"{DEVICE}:{runtime}-{precision}")


def file_of(network: Network, runtime: str, precision: Precision, files: Path = FILES) -> NetworkFile:
    """The one made before, where there is one in `files`."""
    folder = files / f"{network.genotype}-{runtime}-{precision}"
    exporter, record = exporter_for(runtime), folder / _RECORD
    path = folder / f"model{exporter.suffix}"
    if not record.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        target = target_of(runtime, precision)
        exporter.export(network.model, target=target, calibration_N=network.calibration_N, folder=folder)
        write_json(record, {"schema_version": _SCHEMA, "sha256": sha256_of(path)})
    return NetworkFile(runtime=runtime, precision=precision, path=path)

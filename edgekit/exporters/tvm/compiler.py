"""From an ONNX file to a shared library: imported, given kernels, scheduled, compiled, linked."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgekit.core.quantity import Evidence
from edgekit.devices.device import Device
from edgekit.exporters.tvm.cpu import Cpu, cpu_of, host_target, tvm_target
from edgekit.exporters.tvm.half import in_half_precision
from edgekit.exporters.tvm.library import compile_library
from edgekit.exporters.tvm.network import channels_last
from edgekit.exporters.tvm.products import ChooseTile, with_kernels
from edgekit.exporters.tvm.schedule import scheduled
from edgekit.exporters.tvm.tile import Workload, default_tile
from edgekit.exporters.tvm.tile_database import TileDatabase, Tuned
from edgekit.exporters.tvm.toolchain import linker_for

KERNELS: Final = "kernels"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One in a library; `tuned` is None where its tile is the default."""

    workload: Workload
    tuned: Tuned | None

    def to_json(self) -> dict[str, Any]:
        return {"workload": asdict(self.workload), "tuned": None if self.tuned is None else self.tuned.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Kernel:
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
        tuned = record["tuned"]
        return cls(
            workload=Workload.from_json(record["workload"]), tuned=None if tuned is None else Tuned.from_json(tuned)
        )


def compile_for_device(
    onnx: bytes, device: Device, path: Path, record: Mapping[str, Any], *, half: bool = False
) -> tuple[Kernel, ...]:
    """With the tiles that tuning found for the device; its kernels stand in the library's record too. With `half` in float16.

    Raises MissingExtraError, BadInputError, and whatever TVM raises.
    """
    target = tvm_target(device)
    cpu, database = cpu_of(target), TileDatabase.of(device)
    used: dict[str, Kernel] = {}

    def choose(workload: Workload) -> Any:
        used[workload.key] = Kernel(workload=workload, tuned=database.tuned.get(workload.key))
        return database.tile(workload, cpu)

    module = lowered(onnx, target, cpu, choose, half=half)
    kernels = tuple(used.values())
    recorded = {**record, KERNELS: [each.to_json() for each in kernels]}
    compile_library(module, target, linker_for(device.triple), path, recorded)
    return kernels


def compile_for_host(onnx: bytes, path: Path, record: Mapping[str, Any], *, half: bool = False) -> None:
    """For this machine, with default tiles. One without arithmetic in float16 computes in float32 and rounds each result."""
    target = host_target()
    cpu = cpu_of(target)
    module = lowered(onnx, target, cpu, partial(default_tile, cpu=cpu), half=half)
    compile_library(module, target, linker_for(f"{platform.machine()}-linux-gnu"), path, record)


def lowered(onnx: bytes, target: Any, cpu: Cpu, choose: ChooseTile, *, half: bool = False) -> Any:
    """The Relax module of an ONNX file, every function of it scheduled; with `half` it computes in float16."""
    with target:
        module = channels_last(onnx, cpu.activations)
        module = in_half_precision(module) if half else module
        return scheduled(with_kernels(module, cpu, choose), cpu)


def tuning_notes(kernels: tuple[Kernel, ...]) -> tuple[str, ...]:
    """How the tiles of a library were found, in sentences for its report."""
    tuned = [each.tuned for each in kernels if each.tuned is not None]
    if not tuned:
        return (f"None of the {len(kernels)} kernels is tuned for this device: all have default tiles.",)
    measured = sum(each.evidence is Evidence.MEASURED for each in tuned)
    sources = ", ".join(sorted({each.source for each in tuned}))
    notes = [f"{len(tuned)} of the {len(kernels)} kernels have tiles that tuning found ({sources})."]
    if measured < len(tuned):
        notes.append(
            f"{len(tuned) - measured} of them were ranked by instructions on an emulated board, which tell no latency."
        )
    return tuple(notes)

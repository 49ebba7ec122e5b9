"""From an ONNX file to a shared library: imported, given kernels, scheduled, compiled, linked."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from edgekit.devices.device import Device
from edgekit.exporters.tvm.cpu import Cpu, cpu_of, host_target, tvm_target
from edgekit.exporters.tvm.library import compile_library
from edgekit.exporters.tvm.network import ChooseTile, channels_last, with_kernels
from edgekit.exporters.tvm.schedule import scheduled
from edgekit.exporters.tvm.tile import default_tile
from edgekit.exporters.tvm.tile_database import TileDatabase
from edgekit.exporters.tvm.toolchain import linker_for


def compile_for_device(onnx: bytes, device: Device, path: Path, record: Mapping[str, Any]) -> None:
    """With the tiles that tuning found for the device. Raises MissingExtraError, BadInputError, and whatever TVM raises."""
    target = tvm_target(device)
    cpu = cpu_of(target)
    choose = partial(TileDatabase.of(device).tile, cpu=cpu)
    compile_library(lowered(onnx, target, cpu, choose), target, linker_for(device.triple), path, record)


def compile_for_host(onnx: bytes, path: Path, record: Mapping[str, Any]) -> None:
    """For this machine, with default tiles."""
    target = host_target()
    cpu = cpu_of(target)
    choose = partial(default_tile, cpu=cpu)
    linker = linker_for(f"{platform.machine()}-linux-gnu")
    compile_library(lowered(onnx, target, cpu, choose), target, linker, path, record)


def lowered(onnx: bytes, target: Any, cpu: Cpu, choose: ChooseTile) -> Any:
    """The Relax module of an ONNX file, every function of it scheduled."""
    with target:
        return scheduled(with_kernels(channels_last(onnx, cpu.activations), cpu, choose), cpu)

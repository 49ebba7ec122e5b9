"""One small convolution network as a file of each runtime."""

from __future__ import annotations

from pathlib import Path
from shutil import which
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.core.model import Model

SIZE: Final = 24
MACS: Final = SIZE * SIZE * 9 * (3 * 16 + 16 * 16) + 16 * 4
SUFFIXES: Final = (".tflite", ".onnx", ".so")
_LINKER: Final = "aarch64-linux-gnu-gcc"


def make_network() -> nn.Module:
    """The same weights each time: (1, 3, 24, 24) -> (1, 4)."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
    ).eval()


def inputs(suffix: str, count: int = 2) -> np.ndarray:
    """The same pictures each time, as the file takes them."""
    x_NCHW = np.random.default_rng(0).random((count, 3, SIZE, SIZE), np.float32)
    return x_NCHW if suffix == ".onnx" else np.ascontiguousarray(x_NCHW.transpose(0, 2, 3, 1))


def outputs_of_torch() -> np.ndarray:
    with torch.inference_mode():
        return make_network()(torch.from_numpy(inputs(".onnx"))).numpy()


def write_network(path: Path, *, board: bool = False) -> Path:
    """By the path's suffix. A .so is for this machine, or for a `board` with Cortex-A72 cores; skips the test that lacks what it
    takes."""
    match path.suffix:
        case ".tflite":
            from edgekit.exporters.tflite import convert_fp32

            path.write_bytes(convert_fp32(_model()))
        case ".onnx":
            from edgekit.exporters.onnx_file import convert_onnx

            pytest.importorskip("onnxruntime")
            path.write_bytes(convert_onnx(_model()))
        case ".so":
            _compile(path, board=board)
        case _:
            raise ValueError(path)
    return path


def _model() -> Model:
    return Model(
        module=make_network(),
        input_shape=(3, SIZE, SIZE),
        labels=(),
        preprocessing=None,
        operators=(),
        provenance={},
    )


def _compile(path: Path, *, board: bool) -> None:
    """Without tuning."""
    tvm = pytest.importorskip("tvm")
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program

    from edgekit.exporters.channels_last import ChannelsLast

    if board and which(_LINKER) is None:
        pytest.skip(f"{_LINKER} is not installed (apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross)")
    program = torch.export.export(ChannelsLast(make_network()).eval(), (torch.zeros(1, SIZE, SIZE, 3),))
    network = from_exported_program(program, keep_params_as_input=False, unwrap_unit_return_tuple=True)
    there: dict[str, Any] = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72"}
    executable = relax.build(network, tvm.target.Target(there if board else "llvm"))
    executable.export_library(str(path), **({"fcompile": tvm.support.cc.cross_compiler(_LINKER)} if board else {}))

"""Compiled networks in a process of their own: what they answer, and what is refused."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from network_files import inputs, outputs_of_torch, write_network

from edgekit.core.errors import BadInputError
from edgekit.exporters.runner import run_in_subprocess

AARCH64 = 183  # in the ELF header
X = inputs(".so")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("tvm") / "model.so")


def changed(library: Path, path: Path, *, at: int, content: bytes) -> Path:
    file = bytearray(library.read_bytes())
    file[at : at + len(content)] = content
    path.write_bytes(file)
    return path


def test_a_compiled_network_answers_as_torch_does(library: Path) -> None:
    result = run_in_subprocess(library, X)
    np.testing.assert_allclose(result.outputs, outputs_of_torch(), atol=1e-6)
    assert result.times_ms.shape == (len(X),)
    np.testing.assert_array_equal(run_in_subprocess(library, X[::-1], threads=2).outputs, result.outputs[::-1])


def test_another_shape_is_refused(library: Path) -> None:
    with pytest.raises(BadInputError, match=r"takes arrays of shape \(1, 24, 24, 3\), got \(1, 3, 24, 24\)"):
        run_in_subprocess(library, X.transpose(0, 3, 1, 2))


def test_a_library_for_another_processor_is_refused(library: Path, tmp_path: Path) -> None:
    other = changed(library, tmp_path / "model.so", at=18, content=struct.pack("<H", AARCH64))
    with pytest.raises(BadInputError, match="it was compiled for aarch64, not for x86_64"):
        run_in_subprocess(other, X)


def test_a_library_that_is_cut_short_is_refused(library: Path, tmp_path: Path) -> None:
    short = tmp_path / "model.so"
    short.write_bytes(library.read_bytes()[:-1])
    with pytest.raises(BadInputError, match="it is incomplete"):
        run_in_subprocess(short, X)


def test_a_library_that_crashes_is_named(library: Path, tmp_path: Path) -> None:
    broken = changed(library, tmp_path / "model.so", at=0x1000, content=bytes(0x3000))
    with pytest.raises(BadInputError, match=r"crashed the process that opened it \(SIG"):
        run_in_subprocess(broken, X)


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.so").write_text("model")
    with pytest.raises(BadInputError, match="it is not a shared library"):
        run_in_subprocess(tmp_path / "model.so", X)


def test_a_library_that_tvm_did_not_compile_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tvm_ffi")
    if which("gcc") is None:
        pytest.skip("gcc is not installed")
    (tmp_path / "f.c").write_text("int f(void) { return 1; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "f.so", tmp_path / "f.c"], check=True)
    with pytest.raises(BadInputError, match="no function main that TVM compiled"):
        run_in_subprocess(tmp_path / "f.so", X)

"""A finished build is checked again, and any change is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgekit.core.errors import BadInputError, ExitCode, VerificationError
from edgekit.core.records import sha256_of
from edgekit.pipeline.check import verify
from edgekit.pipeline.result import BuildResult


def sign_again(folder: Path, *files: str) -> None:
    """Writes the present hashes into the report, as somebody would who changes a build on purpose."""
    report = json.loads((folder / "report.json").read_text())
    report["sha256"] |= {file: sha256_of(folder / file) for file in files}
    (folder / "report.json").write_text(json.dumps(report))


def test_a_build_passes(built: BuildResult) -> None:
    result = verify(built.folder)
    assert [check.name for check in result.checks] == ["files", "labels", "outputs"]
    assert result.to_json()["folder"] == str(built.folder)


def test_a_moved_build_passes(damaged: Path) -> None:
    assert verify(str(damaged)).checks


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_a_flipped_byte_of_the_model_is_found(damaged: Path, position: int) -> None:
    content = bytearray((damaged / "model.tflite").read_bytes())
    content[position] ^= 1
    (damaged / "model.tflite").write_bytes(content)
    with pytest.raises(VerificationError, match=r"model\.tflite has changed") as caught:
        verify(damaged)
    assert caught.value.code is ExitCode.VERIFICATION


@pytest.mark.parametrize("file", ["labels.txt", "card.md", "plan.json", "env.json", "outputs.safetensors"])
def test_an_edited_file_is_found(damaged: Path, file: str) -> None:
    with (damaged / file).open("ab") as edited:
        edited.write(b" ")
    with pytest.raises(VerificationError, match=f"{file} has changed"):
        verify(damaged)


@pytest.mark.parametrize("file", ["labels.txt", "model.tflite"])
def test_a_missing_file_is_found(damaged: Path, file: str) -> None:
    (damaged / file).unlink()
    with pytest.raises(VerificationError, match=f"{file} is missing"):
        verify(damaged)


def test_a_model_with_other_labels_is_found(damaged: Path, presence_build: BuildResult) -> None:
    shutil.copy(presence_build.folder / "model.tflite", damaged / "model.tflite")
    sign_again(damaged, "model.tflite")
    with pytest.raises(VerificationError, match="labels inside"):
        verify(damaged)


def test_a_model_that_computes_something_else_is_found(damaged: Path) -> None:
    kept = load_file(damaged / "outputs.safetensors")
    save_file({**kept, "p_NK": np.roll(kept["p_NK"], 1, axis=1).copy()}, damaged / "outputs.safetensors")
    sign_again(damaged, "outputs.safetensors")
    with pytest.raises(VerificationError, match="computes different outputs"):
        verify(damaged)


@pytest.mark.parametrize("shape", [(1, 3), (16, 2), (0, 3)])
def test_kept_outputs_of_another_shape_are_damage(damaged: Path, shape: tuple[int, int]) -> None:
    kept = load_file(damaged / "outputs.safetensors")
    save_file({**kept, "p_NK": np.zeros(shape, np.float32)}, damaged / "outputs.safetensors")
    sign_again(damaged, "outputs.safetensors")
    with pytest.raises((BadInputError, VerificationError)):
        verify(damaged)


@pytest.mark.parametrize("content", [b"", b"no tensors"])
def test_damaged_outputs_are_bad_input(damaged: Path, content: bytes) -> None:
    (damaged / "outputs.safetensors").write_bytes(content)
    sign_again(damaged, "outputs.safetensors")
    with pytest.raises(BadInputError, match="damaged"):
        verify(damaged)


@pytest.mark.parametrize("kept", [0, 100, -2])
def test_a_truncated_report_is_bad_input(damaged: Path, kept: int) -> None:
    content = (damaged / "report.json").read_bytes()
    (damaged / "report.json").write_bytes(content[:kept])
    with pytest.raises(BadInputError, match="not a complete JSON record") as caught:
        verify(damaged)
    assert caught.value.code is ExitCode.BAD_INPUT


@pytest.mark.parametrize("hashes", [None, {}, []])
def test_a_report_without_hashes_is_bad_input(damaged: Path, hashes: object) -> None:
    report = json.loads((damaged / "report.json").read_text()) | {"sha256": hashes}
    (damaged / "report.json").write_text(json.dumps(report))
    with pytest.raises(BadInputError, match="lists no files"):
        verify(damaged)


def test_a_folder_that_is_no_build_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"report\.json"):
        verify(tmp_path)

"""What the user is told when something is broken, full, missing, or closed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from edgekit_command import COMMAND, ENVIRONMENT, assert_fails, edgekit

from edgekit.cli.failures import failure_of
from edgekit.core.errors import ConversionError, ExitCode

PAGES = Path(__file__).parents[2] / "docs" / "exit-codes"


@pytest.fixture
def broken_supernet(tiny_supernet: Path, tmp_path: Path) -> Path:
    """A copy to be broken."""
    return Path(shutil.copytree(tiny_supernet, tmp_path / "supernet"))


def build(supernet: Path, out: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return edgekit("build", "--model", supernet, "--task", "red rows", "-o", out, **options)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_every_exit_code_has_its_page():
    for code in ExitCode:
        assert (PAGES / f"{int(code)}.md").read_text().startswith(f"# Exit code {int(code)}:")


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
@pytest.mark.parametrize("file", ["weights.safetensors", "calibration.safetensors"])
def test_damaged_weights_are_named(broken_supernet, tmp_path, file, damage):
    damage(broken_supernet / file)
    assert_fails(build(broken_supernet, tmp_path / "out"), ExitCode.BAD_INPUT, file)
    assert list(tmp_path.iterdir()) == [broken_supernet]


@pytest.mark.parametrize("file", ["card.json", "vocabulary.json"])
def test_a_truncated_record_is_named(broken_supernet, tmp_path, file):
    truncate(broken_supernet / file)
    assert_fails(build(broken_supernet, tmp_path / "out"), ExitCode.BAD_INPUT, file)


@pytest.mark.parametrize("file", ["report.json", "outputs.safetensors", "model.tflite"])
def test_a_truncated_file_of_a_build_is_named(built, tmp_path, file):
    folder = Path(shutil.copytree(built["folder"], tmp_path / "copy"))
    truncate(folder / file)
    done = edgekit("verify", folder)
    assert_fails(done, done.returncode, file)
    assert done.returncode in (ExitCode.BAD_INPUT, ExitCode.VERIFICATION)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "header"])
def test_an_unreadable_picture_is_named(built, tmp_path, content):
    picture = tmp_path / "picture.png"
    picture.write_bytes(content)
    assert_fails(edgekit("predict", built["folder"], picture), ExitCode.BAD_INPUT, "picture.png")


def test_what_does_not_exist_is_named(built, tmp_path):
    assert_fails(edgekit("predict", tmp_path / "none", "x.png"), ExitCode.BAD_INPUT, "none")
    assert_fails(edgekit("predict", built["folder"], tmp_path / "none.png"), ExitCode.BAD_INPUT, "none.png")
    assert_fails(edgekit("verify", tmp_path / "none"), ExitCode.BAD_INPUT, "none")
    train = edgekit("models", "train", tmp_path / "none.toml", "--data", tmp_path)
    assert_fails(train, ExitCode.BAD_INPUT, "none.toml")


def test_an_output_that_cannot_be_a_folder_is_named(tiny_supernet, tmp_path):
    (tmp_path / "file").write_text("kept")
    assert_fails(build(tiny_supernet, tmp_path / "file" / "out"), ExitCode.BAD_INPUT, "file/out")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("room_bytes", [0, 1000, 20_000])
def test_a_full_disk_leaves_the_older_build_and_nothing_else(tiny_supernet, tmp_path, room_bytes):
    """No file may grow beyond the limit: the system answers a write beyond it much as a full disk does."""
    out = tmp_path / "builds" / "out"
    out.mkdir(parents=True)
    (out / "report.json").write_text("the older build")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, room_bytes))

    arguments = ("build", "--model", tiny_supernet, "--task", "red rows", "-o", out, "--overwrite")
    assert_fails(edgekit(*arguments, limits=limit), ExitCode.BAD_INPUT, "write")
    assert list(out.parent.iterdir()) == [out]
    assert [path.read_text() for path in out.iterdir()] == ["the older build"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "arguments", [("devices", "list"), ("devices", "show", "rpi4", "--json"), ("--help",)], ids=repr
)
def test_a_result_that_cannot_be_printed_is_an_error(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert_fails(done, ExitCode.BAD_INPUT, "No space left")


def test_a_reader_that_has_gone_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "devices", "show", "rpi4"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")


@pytest.mark.parametrize("module", ["torch", "litert_torch", "ai_edge_quantizer", "ai_edge_litert", "PIL"])
def test_a_missing_library_is_answered_with_the_line_that_installs_it(module, tiny_supernet, tmp_path):
    arguments = ["build", "--model", str(tiny_supernet), "--task", "red rows", "-o", str(tmp_path / "out")]
    code = f"import sys; sys.modules[{module!r}] = None; from edgekit.cli.main import main; sys.exit(main({arguments}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )
    library = {"PIL": "pillow"}.get(module, module.replace("_", "-"))
    assert_fails(done, ExitCode.MISSING_EXTRA, f"pip install '{library}")
    assert list(tmp_path.iterdir()) == []


def test_an_unforeseen_error_is_a_bug_of_ours_and_says_how_to_report_it():
    failure = failure_of(ZeroDivisionError("division by zero"))
    assert failure.code is ExitCode.UNEXPECTED
    assert "ZeroDivisionError: division by zero" in failure.message
    assert "report" in failure.hint
    assert failure_of(MemoryError()).code is ExitCode.UNEXPECTED
    assert failure_of(ModuleNotFoundError("no", name="edgekit.nothing")).code is ExitCode.UNEXPECTED


def test_the_traceback_is_printed_on_demand_only():
    assert "Traceback" not in edgekit("devices", "show", "rpi6").stderr
    assert "Traceback" in edgekit("devices", "show", "rpi6", "-v").stderr


def test_an_error_is_one_json_object_when_json_is_asked_for():
    for arguments in (("devices", "show", "rpi6"), ("build", "--nonsense"), ("nonsense",)):
        done = edgekit(*arguments, "--json")
        error = json.loads(done.stdout)["error"]
        assert error["code"] == done.returncode == ExitCode.USAGE
        assert error["message"] in done.stderr
        assert error["page"] == "docs/exit-codes/2.md"


def test_a_conversion_that_fails_is_told_from_a_disk_that_is_full():
    error = ConversionError("cannot convert")
    error.__cause__ = ValueError("an operator")
    assert failure_of(error).code is ExitCode.CONVERSION
    error.__cause__ = OSError(28, "No space left on device")
    assert failure_of(error).code is ExitCode.BAD_INPUT

"""What is broken is named with the line to run, and takes the examination down in no case."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.core.errors import ExitCode
from edgekit.pipeline.doctor.boards import examine_boards
from edgekit.pipeline.doctor.children import output_of
from edgekit.pipeline.doctor.finding import State
from edgekit.pipeline.doctor.storage import examine_disk, examine_keys, examine_models
from edgekit.supernet import storage

STATES = {state.value for state in State}


class Machine:
    """A user with an empty home, whose PATH and libraries can be made worse."""

    def __init__(self, folder: Path) -> None:
        self.home, self.libraries, self.programs = folder / "home", folder / "libraries", folder / "programs"
        for made in (self.home, self.libraries, self.programs):
            made.mkdir()

    def spoil(self, module: str, code: str) -> None:
        (self.libraries / f"{module}.py").write_text(code)

    def doctor(self, *options: str, path: str = os.environ["PATH"]) -> tuple[dict[str, Any], int]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        package = str(Path(edgekit.__file__).parents[1])
        environment = kept | {
            "HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "PATH": path,
            "PYTHONPATH": f"{self.libraries}:{package}",
        }
        done = subprocess.run(
            [sys.executable, "-m", "edgekit.cli.main", "doctor", "--json", "-q", *options],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return dict(json.loads(done.stdout)), done.returncode


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def by_name(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{finding['section']}: {finding['name']}": finding for finding in record["findings"]}


def test_an_empty_home_is_examined_and_stays_empty(machine: Machine) -> None:
    record, code = machine.doctor()
    assert code == ExitCode.OK
    assert record["schema_version"] == 1
    assert record["plain_build_works"]
    assert {finding["state"] for finding in record["findings"]} <= STATES
    found = by_name(record)
    assert found["machine: Python"]["facts"]["executable"] == sys.executable
    libraries = found["libraries: required"]["facts"]["libraries"]
    assert libraries["torch"]["state"] == "ok"
    assert libraries["torch"]["version"].startswith("2.")
    assert found["runtimes: tflite"]["facts"]["can"] == ["run", "export", "quantise"]
    assert found["models: signs43"]["state"] == "ok"
    assert found["disk: cache"]["facts"]["bytes"] == 0
    assert found["boards: boards.toml"]["state"] == "absent"
    assert list(machine.home.iterdir()) == []


def test_what_is_broken_or_missing_is_named_with_the_line_to_run(machine: Machine) -> None:
    machine.spoil("scipy", "raise ImportError('libgfortran.so.5: cannot open shared object file')")
    machine.spoil("numpy", "raise ImportError('numpy was built for another processor')")
    machine.spoil("pyarrow", "import os; os.abort()")
    machine.spoil("onnxscript", "print('hello'); 1 / 0")
    record, code = machine.doctor(path=str(machine.programs))
    assert code == ExitCode.MISSING_EXTRA
    assert not record["plain_build_works"]
    found = by_name(record)

    required = found["libraries: required"]
    assert required["state"] == "broken"
    assert "libgfortran.so.5" in required["found"]
    assert "pyarrow cannot be imported: it crashed (SIGABRT)" in required["found"]
    assert required["fix"].startswith("pip install --force-reinstall --no-deps")
    assert "scipy" in required["fix"]
    assert "pyarrow" in required["fix"]
    assert required["facts"]["libraries"]["pillow"]["state"] == "ok"

    assert "ZeroDivisionError" in found["extras: onnx"]["found"]
    assert found["runtimes: onnx"]["state"] == "broken"
    assert "cannot export: needs onnx and onnxscript" in found["runtimes: onnx"]["found"]
    assert found["boards: all"]["state"] == "broken"
    assert "another processor" in found["boards: all"]["found"]

    assert found["tools: linker for aarch64"]["fix"] == (
        "apt-get install --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    )
    assert found["tools: qemu-aarch64"]["fix"] == "apt-get install --no-install-recommends qemu-user"
    assert found["tools: adb"]["state"] == "absent"


def test_a_linker_that_cannot_link_is_broken(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler without the C library's files, as apt leaves it without recommendations."""
    from edgekit.pipeline.doctor.tools import examine_tools

    fake = machine.programs / "gcc"
    fake.write_text("#!/bin/sh\necho 'ld: cannot find crti.o: No such file or directory' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine.programs}:{os.environ['PATH']}")
    with ThreadPoolExecutor() as pool:
        ours = examine_tools(pool)[0]
    assert ours.state is State.BROKEN
    assert "crti.o" in ours.found
    assert "libc6-dev" in ours.fix


def test_a_program_that_hangs_is_ended() -> None:
    started = time.monotonic()
    said, failure = output_of([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.5)
    assert (said, failure) == ("", "it did not end within 0.5 s")
    assert time.monotonic() - started < 10


def test_keys_that_others_can_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key = tmp_path / "id ed25519"
    key.write_text("secret")
    (tmp_path / "config/edgekit").mkdir(parents=True)
    (tmp_path / "config/edgekit/boards.toml").write_text(
        '[boards.pi]\ntransport = "ssh"\ndevice = "rpi4"\nhost = "pi.invalid"\nworkspace = "/w"\n'
        f'identity_file = "{key}"\n'
    )
    key.chmod(0o600)
    assert examine_keys().state is State.OK
    key.chmod(0o640)
    finding = examine_keys()
    assert finding.state is State.BROKEN
    assert finding.fix == f"chmod 600 '{key}'"
    assert "secret" not in repr(finding)


def test_boards_that_are_not_described_as_they_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgekit").mkdir()
    (tmp_path / "edgekit/boards.toml").write_text('[boards.pi]\ntransport = "shs"\n')
    with ThreadPoolExecutor() as pool:
        (finding,) = examine_boards(pool, ask=True)
    assert finding.state is State.BROKEN
    assert "board pi: transport is 'shs'" in finding.found


def test_a_damaged_supernet_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_supernet: Path) -> None:
    shutil.copytree(tiny_supernet, tmp_path / "models/stripes")
    monkeypatch.setattr(storage, "data_folder", lambda name: tmp_path / name)
    assert next(iter(examine_models())).state is State.OK
    weights = tmp_path / "models/stripes" / storage.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    finding = next(iter(examine_models()))
    assert finding.fails
    assert storage.WEIGHTS in finding.found


def test_the_cache_is_measured_by_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "edgekit/builds/one").mkdir(parents=True)
    (tmp_path / "edgekit/builds/one/model.tflite").write_bytes(bytes(3000))
    (tmp_path / "edgekit/lab").mkdir()
    (tmp_path / "edgekit/lab/link").symlink_to(tmp_path / "edgekit/builds/one/model.tflite")
    cache = {finding.name: finding for finding in examine_disk()}["cache"]
    assert cache.facts["bytes"] == 3000
    assert cache.facts["rooms"] == {"builds": 3000, "lab": 0}


@pytest.mark.slow
def test_a_thorough_examination_builds_for_every_runtime(machine: Machine) -> None:
    record, code = machine.doctor("--thorough")
    assert code == ExitCode.OK
    runtimes = [finding for finding in record["findings"] if finding["section"] == "runtimes"]
    assert {finding["name"] for finding in runtimes} >= {"tflite", "onnx"}
    for finding in runtimes:
        assert finding["state"] == "absent" or "exported and ran" in finding["found"], finding

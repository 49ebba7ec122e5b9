"""`edgekit fleet` and `edgekit cache`."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from edgekit_command import COMMAND, ENVIRONMENT, assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "CONFIG"):
        monkeypatch.setitem(ENVIRONMENT, f"XDG_{name}_HOME", str(tmp_path / "home" / name.lower()))


def write_fleet(folder: Path, model: Path, *, tasks: str) -> Path:
    file = folder / "fleet.toml"
    file.write_text(f'model = "{model}"\ntargets = ["rpi4"]\n[tasks]\n{tasks}\n')
    return file


def test_members_are_printed_and_nothing_is_built(tiny_supernet: Path, tmp_path: Path) -> None:
    file = write_fleet(tmp_path, tiny_supernet, tasks='red = "red rows, red columns"\nblue = "blue rows, blue columns"')
    done = edgekit("fleet", file, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["member", "red-rpi4", "blue-rpi4"]
    record = edgekit_json("fleet", file, "--dry-run")
    assert [member["inputs"]["task"] for member in record["members"]] == [
        "red rows, red columns",
        "blue rows, blue columns",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.toml"]


def test_usage(tiny_supernet: Path, tmp_path: Path) -> None:
    file = write_fleet(tmp_path, tiny_supernet, tasks='red = "red rows"')
    assert_fails(edgekit("fleet", file), 2, "--output")
    assert_fails(edgekit("fleet", tmp_path / "none.toml", "--dry-run"), 9, "cannot read")
    assert_fails(edgekit("fleet", file, "-o", tmp_path / "out", "--workers", "2", "--ray", "auto"), 2, "--workers")
    assert_fails(edgekit("fleet", file, "-o", tmp_path), 2, "fleet.json")


def test_members_that_fail_end_with_10_and_one_object(tiny_supernet: Path, tmp_path: Path) -> None:
    """Nothing needs to be built to see it."""
    file = write_fleet(tmp_path, tiny_supernet, tasks='x = "purple rows"\ny = "red rows, purple columns"')
    done = edgekit("fleet", file, "-o", tmp_path / "out", "--json")
    assert_fails(done, ExitCode.INCOMPLETE, "2 of 2 members were not built")
    record: dict[str, Any] = json.loads(done.stdout)
    assert [member["failure"]["code"] for member in record["members"]] == [2, 2]
    assert record == json.loads((tmp_path / "out" / "fleet.json").read_text())
    told = edgekit("fleet", file, "-o", tmp_path / "out")
    assert "x-rpi4: exit code 2: " in told.stdout
    assert "purple" in told.stdout
    assert "1/2 x-rpi4 failed" in told.stderr
    quiet = edgekit("fleet", file, "-o", tmp_path / "out", "-q")
    assert "1/2" not in quiet.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_no_process_and_nothing_half_written(
    number: signal.Signals, tiny_supernet: Path, tmp_path: Path
) -> None:
    file = write_fleet(tmp_path, tiny_supernet, tasks='red = "red rows, red columns"\nodd = "purple rows"')
    out = tmp_path / "out"
    with subprocess.Popen(
        [*COMMAND, "fleet", str(file), "-o", str(out)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        late = time.monotonic() + 120
        while not list(out.glob(".red-rpi4.*")) and time.monotonic() < late:
            time.sleep(0.05)
        processes = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, stderr
    assert "Traceback" not in stderr
    assert processes
    assert [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert sorted(path.name for path in out.iterdir()) == ["fleet.json", "index.html"]


def test_the_cache_is_shown_limited_and_cleared(tmp_path: Path) -> None:
    shown = edgekit_json("cache", "show")
    assert shown == {
        "folder": str(tmp_path / "home" / "cache" / "edgekit" / "builds"),
        "builds": 0,
        "size_bytes": 0,
        "limit_bytes": 2_000_000_000,
    }
    assert edgekit_json("cache", "limit", "1.5GB")["limit_bytes"] == 1_500_000_000
    assert edgekit_json("cache", "show")["limit_bytes"] == 1_500_000_000
    assert_fails(edgekit("cache", "limit", "much"), 2, "500MB")
    build = Path(shown["folder"]) / "0123"
    build.mkdir(parents=True)
    (build / "report.json").write_text("{}" + " " * 998)
    assert edgekit_json("cache", "show")["size_bytes"] == 1000
    assert "1 builds" in edgekit("cache", "clear").stdout
    assert edgekit_json("cache", "show")["builds"] == 0

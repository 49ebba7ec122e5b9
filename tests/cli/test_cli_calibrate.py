"""`edgekit devices calibrate`: a board of one's own from a table of latencies."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from chain_files import write_chain
from edgekit_command import COMMAND, ENVIRONMENT, assert_fails

from edgekit.core.errors import ExitCode
from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.target import parse_target
from edgekit.exporters.tflite_graph import read_graph

OPTIONS = ("--like", "rpi4", "--threads", "2", "--runtime-version", "2.16.1")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve networks on a board that is 2.5 times slower than a Raspberry Pi 4, needs 0.3 ms more, and is noisy by 2 %."""
    rng = np.random.default_rng(0)
    known = load_cost_model(parse_target("rpi4:tflite-fp32"))
    rows = ["file,p50_ms"]
    for number in range(12):
        size, width = int(rng.integers(8, 40)), int(rng.integers(4, 48))
        channels, kernel = (3, *[width] * int(rng.integers(1, 5))), int(rng.choice((1, 3)))
        file = write_chain(tmp_path / f"{number}.tflite", size=size, channels=channels, kernel=kernel)
        latency_ms = (2.5 * known.latency_ms(read_graph(file).operators) + 0.3) * rng.normal(1, 0.02)
        rows.append(f"{file.name},{latency_ms}")
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(rows))
    return path


def run(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=ENVIRONMENT | {"XDG_CONFIG_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_calibrated_board_is_a_target(home: Path, table: Path, tmp_path: Path) -> None:
    done = run(home, "devices", "calibrate", "my-board", "--measurements", table, *OPTIONS, "--json")
    assert done.returncode == 0, done.stderr
    (fitted,) = json.loads(done.stdout)["precisions"]
    assert (fitted["precision"], fitted["networks"]) == ("fp32", 12)
    assert fitted["error"]["value"] < 0.1

    assert "my-board" in run(home, "devices", "list").stdout
    unseen = write_chain(tmp_path / "unseen.tflite", size=20, channels=(3, 24, 24, 24))
    record = json.loads(run(home, "profile", unseen, "--target", "my-board", "--json").stdout)
    assert record["target"] == "my-board:tflite-fp32"
    assert record["threads"] == 2
    latency = next(figure for figure in record["figures"] if figure["name"] == "latency")
    true_ms = 2.5 * load_cost_model(parse_target("rpi4:tflite-fp32")).latency_ms(read_graph(unseen).operators) + 0.3
    assert latency["value"] == pytest.approx(true_ms, rel=0.1)
    assert latency["interval"][0] <= true_ms <= latency["interval"][1]


def test_a_finished_device_is_replaced_only_when_asked(home: Path, table: Path) -> None:
    command = ("devices", "calibrate", "my-board", "--measurements", table, *OPTIONS)
    assert run(home, *command).returncode == 0
    assert_fails(run(home, *command), ExitCode.USAGE, "exists")
    assert run(home, *command, "--overwrite").returncode == 0
    assert [path.name for path in (home / "edgekit" / "devices").iterdir()] == ["my-board"]


@pytest.mark.parametrize(
    ("name", "change", "code", "words"),
    [
        ("rpi4", lambda rows: rows, ExitCode.USAGE, "ships with edgekit"),
        ("../evil", lambda rows: rows, ExitCode.USAGE, "cannot be the name"),
        ("my-board", lambda rows: rows[:8], ExitCode.BAD_INPUT, "too few"),
        ("my-board", lambda rows: [*rows, rows[-1]], ExitCode.BAD_INPUT, "twice"),
        ("my-board", lambda rows: [*rows, "none.tflite,3"], ExitCode.BAD_INPUT, "does not exist"),
        ("my-board", lambda rows: [*rows, "0.tflite,-3"], ExitCode.BAD_INPUT, "line 14"),
        ("my-board", lambda rows: rows[:0], ExitCode.BAD_INPUT, "no measurements"),
        ("my-board", lambda rows: rows[:1], ExitCode.BAD_INPUT, "no measurements"),
        ("my-board", lambda rows: [*rows, "a.onnx,3"], ExitCode.BAD_INPUT, "not a file that TFLite runs"),
        ("my-board", lambda rows: ["a,b", *rows[1:]], ExitCode.BAD_INPUT, "line 2"),
    ],
)
def test_what_cannot_be_fitted_leaves_nothing(home: Path, table: Path, name, change, code, words) -> None:
    table.write_text("\n".join(change(table.read_text().splitlines())))
    assert_fails(run(home, "devices", "calibrate", name, "--measurements", table, *OPTIONS), code, words)
    assert not (home / "edgekit" / "devices").exists()


@pytest.mark.parametrize("like", ["rpi5", "host"])
def test_a_board_like_one_that_nobody_measured_is_measured_itself(home: Path, table: Path, like: str) -> None:
    options = ("--like", like, "--threads", "4", "--runtime-version", "2.16.1")
    assert run(home, "devices", "calibrate", "mine", "--measurements", table, *options).returncode == 0
    record = json.loads(run(home, "devices", "show", "mine", "--json").stdout)
    origins = {latency["name"]: latency["from"] for latency in record["latencies"]}
    assert origins.pop("tflite-fp32") == "own"
    assert set(origins.values()) == {"tflite"}, "other runtimes"
    assert record["figures"] == []
    assert record["protocol"]["threads"] == 4
    assert record["cpu"] == json.loads(run(home, "devices", "show", like, "--json").stdout)["cpu"]

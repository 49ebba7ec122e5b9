"""What can be asked without building anything."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest
from edgekit_command import COMMAND, ENVIRONMENT, assert_fails, edgekit, edgekit_json

from edgekit.core.errors import ExitCode
from edgekit.version import VERSION

# The promise is 0.3 s; a machine that runs tests has other things to do as well.
MAX_HELP_S = 0.6
MAX_MODULES = 60
HEAVY = ("numpy", "torch", "rich", "PIL", "pyarrow", "scipy", "litert_torch")
COMMANDS = (
    ("init",),
    ("build",),
    ("compare",),
    ("assemble",),
    ("predict",),
    ("verify",),
    ("models", "list"),
    ("models", "show"),
    ("models", "eval"),
    ("models", "train"),
    ("models", "refit"),
    ("models", "archive"),
    ("models", "check-data"),
    ("devices", "list"),
    ("devices", "show"),
    ("lab", "up"),
    ("lab", "status"),
    ("lab", "down"),
)


@pytest.mark.slow
def test_help_comes_at_once():
    """Not in every run: how soon depends on the machine. What decides it, the modules, is tested in every one."""
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("COV")}
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([*COMMAND, "--help"], env=environment, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
    assert statistics.median(seconds) < MAX_HELP_S


def test_help_imports_nothing_heavy_and_little_else():
    code = "import sys, click; before = {*sys.modules}; import edgekit.cli.main; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert not {*HEAVY} & {*imported}
    assert len(imported) < MAX_MODULES


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]):
    done = edgekit(*command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert done.stderr == ""


def test_version():
    assert edgekit("--version").stdout.strip().endswith(VERSION)


@pytest.mark.parametrize("command", [(), ("models",), ("devices",), ("lab",)], ids=repr)
def test_a_command_that_is_not_whole_shows_the_help_and_fails(command: tuple[str, ...]):
    done = edgekit(*command)
    assert done.returncode == ExitCode.USAGE
    assert "\nCommands:" in done.stderr or "\nBuild:" in done.stderr


def test_a_misspelt_command_is_answered_with_the_nearest():
    assert_fails(edgekit("biuld"), ExitCode.USAGE, "build")


def test_devices_are_listed_and_shown():
    (listed,) = [device for device in edgekit_json("devices", "list")["devices"] if device["name"] == "rpi4"]
    assert listed == edgekit_json("devices", "show", "raspberry pi 4")
    shown = edgekit("devices", "show", "rpi4").stdout
    assert listed["cpu"] in shown
    assert listed["runtimes"][0]["source"] in shown


def test_the_list_of_devices_says_whose_figures_predict_them():
    listed = {device["name"]: device["latencies"] for device in edgekit_json("devices", "list")["devices"]}
    of_tflite = {name: [one for one in latencies if "tflite" in one["name"]] for name, latencies in listed.items()}
    assert {latency["from"] for latency in of_tflite["rpi4"]} == {"own"}
    assert {latency["from"] for latency in of_tflite["rpi3"]} == {"rpi4"}
    assert {latency["spread"] for latency in of_tflite["rpi3"]} == {3.3}
    assert {latency["from"] for latency in listed["rpi4"] if "onnx" in latency["name"]} == {"tflite"}
    shown = edgekit("devices", "show", "rpi3").stdout
    assert "as rpi4 x" in shown
    assert "ncnn" in shown


def test_an_unknown_device_is_answered_with_the_nearest():
    assert_fails(edgekit("devices", "show", "rpi44"), ExitCode.USAGE, "rpi4")


def test_models_are_listed():
    models = edgekit_json("models", "list")["models"]
    plain = edgekit("models", "list").stdout
    for model in models:
        assert model["name"] in plain
        assert model["card"]["data"] in plain


def test_a_model_shows_its_card_and_its_vocabulary(tiny_supernet):
    record = edgekit_json("models", "show", tiny_supernet)
    assert {"name": "red rows", "colour": "red", "pattern": "rows"} in record["vocabulary"]
    plain = edgekit("models", "show", tiny_supernet).stdout
    assert record["card"]["data"] in plain
    assert "blue columns" in plain


def test_an_unknown_model_is_refused():
    assert_fails(edgekit("models", "show", "sings43"), ExitCode.USAGE, "sings43")

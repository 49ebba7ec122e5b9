"""Runtimes beside TFLite: which devices have them, and what is predicted of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import UsageError
from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.device import Device, list_devices, read_device
from edgekit.devices.networks import mobilenet_v1
from edgekit.devices.origins import origins_of
from edgekit.devices.precision import Precision
from edgekit.devices.runtimes import BESIDE_TFLITE
from edgekit.devices.target import parse_target

PHONES = {"galaxy-s7", "pixel2", "pixel3"}
SHIPPED = {device.name: device for device in list_devices(data_folder("devices"))}
BOARDS = [device for device in SHIPPED.values() if device.triple == "aarch64-linux-gnu"]
NETWORK = mobilenet_v1(width=0.5, resolution=128)


def rewritten(folder: Path, old: str, new: str) -> Device:
    """rpi4 with another device.toml."""
    copy = Path(shutil.copytree(SHIPPED["rpi4"].folder, folder / "rpi4"))
    text = (copy / "device.toml").read_text()
    assert old in text
    (copy / "device.toml").write_text(text.replace(old, new))
    return read_device(copy)


def test_boards_of_64_bits_have_onnx_and_tvm_in_both_precisions_and_phones_have_not() -> None:
    assert BOARDS
    for device in BOARDS:
        for runtime in BESIDE_TFLITE:
            assert set(device.runtime(runtime).precisions) == set(Precision)
            assert device.runtime(runtime).threads == device.default_threads
    for name in PHONES:
        assert [runtime.name for runtime in SHIPPED[name].runtimes] == ["tflite"]


def test_a_device_alone_is_still_tflite_in_int8() -> None:
    assert str(parse_target("rpi4")) == "rpi4:tflite-int8"
    assert str(parse_target("rpi4:onnx")) == "rpi4:onnx-int8"
    assert str(parse_target("rpi4:fp32")) == "rpi4:tflite-fp32"
    assert str(parse_target("Raspberry Pi 5:tvm-fp32")) == "rpi5:tvm-fp32"


@pytest.mark.parametrize("triple", ["arm-linux-gnueabihf", "aarch64-linux-android", "arm64-darwin"])
def test_a_system_without_wheels_has_neither(tmp_path: Path, triple: str) -> None:
    device = rewritten(tmp_path, 'triple = "aarch64-linux-gnu"', f'triple = "{triple}"')
    assert [runtime.name for runtime in device.runtimes] == ["tflite"]
    with pytest.raises(UsageError, match='no runtime "onnx"'):
        device.runtime("onnx")


def test_what_a_device_says_of_its_runtimes_goes_before_the_rule(tmp_path: Path) -> None:
    listed = '[runtimes.onnx]\nprecisions = ["fp32"]\nthreads = 1\nnote = "slow in int8"\n\n[runtimes.tflite]'
    device = rewritten(tmp_path, "[runtimes.tflite]", listed)
    assert device.runtime("onnx").precisions == (Precision.FP32,)
    assert device.runtime("onnx").threads == 1
    assert {runtime.name for runtime in device.runtimes} == {"onnx", "tflite", "tvm"}


@pytest.mark.parametrize("runtime", BESIDE_TFLITE)
@pytest.mark.parametrize("name", ["rpi4", "rpi5"])
def test_a_latency_is_that_of_tflite_with_an_interval_as_much_wider_as_runtimes_differ(name: str, runtime: str) -> None:
    tflite, other = (
        load_cost_model(parse_target(f"{name}:{one}-fp32")).predict_latency(NETWORK) for one in ("tflite", runtime)
    )
    beside = BESIDE_TFLITE[runtime]
    assert other.value == tflite.value
    assert tflite.interval is not None
    assert other.interval == pytest.approx((tflite.interval[0] * beside.fastest, tflite.interval[1] * beside.slowest))
    assert other.source.startswith(f"no figures of {runtime}: as tflite")
    assert beside.reason in other.source
    assert other.source.endswith(tflite.source)


def test_a_device_tells_where_the_latencies_of_each_runtime_come_from() -> None:
    words = {origin.name: origin.word for origin in origins_of(SHIPPED["rpi4"])}
    assert words["tflite-int8"] == "own"
    assert words["onnx-int8"] == words["tvm-fp32"] == "tflite"

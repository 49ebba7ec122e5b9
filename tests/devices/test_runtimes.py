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


def test_boards_of_64_bits_have_onnx_and_tvm_in_fp32_and_int8_and_phones_have_not() -> None:
    assert BOARDS
    for device in BOARDS:
        for runtime in BESIDE_TFLITE:
            assert {Precision.INT8, Precision.FP32} <= set(device.runtime(runtime).precisions)
            assert device.runtime(runtime).threads == device.default_threads
    for name in PHONES:
        assert [runtime.name for runtime in SHIPPED[name].runtimes] == ["tflite"]


def test_tvm_has_fp16_where_the_processor_has_and_nothing_else_has() -> None:
    having = {device.name for device in BOARDS if Precision.FP16 in device.runtime("tvm").precisions}
    assert having == {"rpi5", "jetson-xavier-cpu"}
    others = [one for device in SHIPPED.values() for one in device.runtimes if one.name != "tvm"]
    assert all(Precision.FP16 not in one.precisions for one in others)
    assert str(parse_target("rpi5:tvm-fp16")) == "rpi5:tvm-fp16"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("rpi4:tvm-fp16", "ask for int8 or fp32: Arm Cortex-A72 has no arithmetic in half precision"),
        ("rpi5:fp16", "ask for int8 or fp32, or for rpi5:tvm-fp16"),
        ("rpi5:onnx-fp16", "ask for int8 or fp32, or for rpi5:tvm-fp16"),
        ("pixel3:tflite-fp16", "ask for int8 or fp32"),
    ],
)
def test_fp16_where_there_is_none_is_a_usage_error_that_says_what_there_is(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match="has no fp16") as caught:
        parse_target(text)
    assert (caught.value.code, caught.value.hint) == (2, hint)


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


def test_the_latency_of_fp16_is_that_of_fp32_with_an_interval_that_says_it_is_assumed() -> None:
    half, single = (load_cost_model(parse_target(f"rpi5:tvm-{one}")) for one in ("fp16", "fp32"))
    found, known = half.predict_latency(NETWORK), single.predict_latency(NETWORK)
    assert found.value == known.value == pytest.approx(half.latency_ms(NETWORK))
    assert found.interval is not None
    assert known.interval is not None
    assert found.interval == pytest.approx((known.interval[0] / 2, known.interval[1] * 1.25))
    assert "fp16 is assumed to take 0.5 to 1.25 times as long as fp32" in found.source
    assert "measured on no board" in found.source


def test_a_device_tells_where_the_latencies_of_each_runtime_come_from() -> None:
    words = {origin.name: origin.word for origin in origins_of(SHIPPED["rpi4"])}
    assert words["tflite-int8"] == "own"
    assert words["onnx-int8"] == words["tvm-fp32"] == "tflite"
    assert "tvm-fp16" not in words
    assert {origin.name: origin.word for origin in origins_of(SHIPPED["jetson-xavier-cpu"])}["tvm-fp16"] == "tflite"

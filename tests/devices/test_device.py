import os
import platform
import shutil
from pathlib import Path

import pytest

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.devices.device import Protocol, list_devices, load_device
from edgekit.devices.target import Precision, Target, parse_target

DEVICE_TOML = (data_folder("devices") / "rpi4" / "device.toml").read_text()


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A folder of devices of one's own, with one device that is a copy of the Raspberry Pi 4."""
    shutil.copytree(data_folder("devices") / "rpi4", tmp_path / "rpi4")
    return tmp_path


def test_every_shipped_device_loads_by_its_name_and_all_its_aliases():
    for device in list_devices(data_folder("devices")):
        for name in (device.name, device.name.upper(), *device.aliases):
            assert load_device(name) == device


def test_unknown_device_is_answered_with_the_nearest_name():
    with pytest.raises(UsageError) as caught:
        load_device("rpi44")
    assert '"rpi4"' in caught.value.hint


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP32])
def test_target_survives_being_written_and_read(precision: Precision):
    target = Target(device=load_device("rpi4"), runtime="tflite", precision=precision, threads=4)
    assert parse_target(str(target)) == target


def test_what_a_target_leaves_out_is_the_devices_default():
    assert parse_target("rpi4") == parse_target("Raspberry Pi 4:TFLite") == parse_target("pi4:tflite-int8")
    assert parse_target("rpi4:tflite-fp32").precision is Precision.FP32


@pytest.mark.parametrize(
    "text",
    ["rpi4:ncnn", "pixel2:onnx", "rpi4:", "rpi4:tflite-", "rpi4:tflite-int4", "rpi4:tflite-int8-x", "", ":tflite"],
)
def test_wrong_target_is_a_usage_error_with_a_next_step(text: str):
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert caught.value.hint


def test_missing_runtime_is_answered_with_those_there_are():
    with pytest.raises(UsageError) as caught:
        parse_target("rpi4:ncnn")
    assert all(f'"{name}"' in caught.value.hint for name in ("onnx", "tflite", "tvm"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cores = 4", "cores = "),
        ("cores = 4", ""),
        ("cores = 4", 'cores = 4\ncolour = "green"'),
        ("schema_version = 1", "schema_version = 2"),
        ('default_precision = "int8"', 'default_precision = "int3"'),
        ('default_runtime = "tflite"', 'default_runtime = "ncnn"'),
        ("threads = 4\ncalibration", "calibration"),
        ("[runtimes.tflite]", "[runtimes]"),
        ('name = "rpi4"', 'name = "rpi5"'),
        ("runs = 50", "runs = 0"),
        ("runs = 50", "runs = 50\nrun = 50"),
        ('licence = "Apache-2.0"', ""),
        ('table = "ncnn.csv"', ""),
        ('name = "rpi4"', 'name = "rpi4"\nfacts = "guess"'),
    ],
)
def test_broken_device_file_is_bad_input_that_names_the_file(devices: Path, old: str, new: str):
    assert old in DEVICE_TOML
    (devices / "rpi4" / "device.toml").write_text(DEVICE_TOML.replace(old, new))
    with pytest.raises(BadInputError, match=r"device\.toml"):
        load_device("rpi4", folder=devices)


def test_missing_or_binary_device_file_is_bad_input(devices: Path):
    path = devices / "rpi4" / "device.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match=r"device\.toml"):
        list_devices(devices)
    path.unlink()
    with pytest.raises(BadInputError, match=r"device\.toml"):
        list_devices(devices)


def test_device_from_another_folder_keeps_that_folder(devices: Path):
    assert load_device("pi4", folder=devices).folder == devices / "rpi4"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("cores = 4", "", ("the file", "lacks cores")),
        ("cores = 4", "cores = 4\nbig_core = 4", ('"big_core"', 'did you mean "big_cores"')),
        ("runs = 50", "run = 50", ("[protocol]", '"run"', 'did you mean "runs"')),
        ('table = "ncnn.csv"', "", ("[figures.ncnn]", "lacks table")),
        ('version = "2.4.1 (ruy)"', "", ("[runtimes.tflite]", "lacks version")),
    ],
)
def test_a_missing_or_unknown_key_is_named_with_its_section(devices: Path, old: str, new: str, words: tuple[str, ...]):
    (devices / "rpi4" / "device.toml").write_text(DEVICE_TOML.replace(old, new, 1))
    with pytest.raises(BadInputError) as caught:
        load_device("rpi4", folder=devices)
    for word in words:
        assert word in str(caught.value)


def test_what_a_device_of_an_older_version_does_not_say_has_a_default(devices: Path):
    older = DEVICE_TOML[: DEVICE_TOML.index("[protocol]")] + DEVICE_TOML[DEVICE_TOML.index("[runtimes.tflite]") :]
    older = older[: older.index("[figures.ncnn]")]
    (devices / "rpi4" / "device.toml").write_text("\n".join(x for x in older.splitlines() if "tvm" not in x.lower()))
    device = load_device("rpi4", folder=devices)
    assert device.protocol == Protocol(threads=device.default_threads)
    assert (device.big_cores, device.tvm_tag, device.figures) == (device.cores, "", ())


def test_this_machine_tells_its_own_facts():
    host = load_device("host")
    assert host == load_device("this machine")
    assert host.cores == os.cpu_count()
    assert host.isa == platform.machine()
    assert host.sources == ("read from this machine's operating system",)
    assert not host.runtime("tflite").has_figures

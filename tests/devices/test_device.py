import shutil
from pathlib import Path

import pytest

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.devices.device import list_devices, load_device
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


@pytest.mark.parametrize("precision", Precision)
def test_target_survives_being_written_and_read(precision: Precision):
    target = Target(device=load_device("rpi4"), runtime="tflite", precision=precision, threads=4)
    assert parse_target(str(target)) == target


def test_what_a_target_leaves_out_is_the_devices_default():
    assert parse_target("rpi4") == parse_target("Raspberry Pi 4:TFLite") == parse_target("pi4:tflite-int8")
    assert parse_target("rpi4:tflite-fp32").precision is Precision.FP32


@pytest.mark.parametrize(
    "text", ["rpi4:tvm", "rpi4:", "rpi4:tflite-", "rpi4:tflite-int4", "rpi4:tflite-int8-x", "", ":tflite"]
)
def test_wrong_target_is_a_usage_error_with_a_next_step(text: str):
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert caught.value.hint


def test_missing_runtime_is_answered_with_those_there_are():
    with pytest.raises(UsageError) as caught:
        parse_target("rpi4:tvm")
    assert '"tflite"' in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cores = 4", "cores = "),
        ("cores = 4", ""),
        ("cores = 4", 'cores = 4\ncolour = "green"'),
        ("schema_version = 1", "schema_version = 2"),
        ('default_precision = "int8"', 'default_precision = "int3"'),
        ('default_runtime = "tflite"', 'default_runtime = "tvm"'),
        ("threads = 4\ncalibration", "calibration"),
        ("[runtimes.tflite]", "[runtimes]"),
        ('name = "rpi4"', 'name = "rpi5"'),
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

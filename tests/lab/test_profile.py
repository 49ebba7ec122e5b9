"""What an emulated board says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import UsageError
from edgekit.devices.device import load_device
from edgekit.lab.profile import write_profile


@pytest.mark.parametrize("name", ["rpi4", "rk3399"])
def test_it_is_the_device_and_says_that_it_is_emulated(name: str, tmp_path: Path) -> None:
    device = load_device(name)
    write_profile(device, tmp_path)
    cpuinfo = (tmp_path / "proc/cpuinfo").read_text()
    assert cpuinfo.count("processor") == device.cores
    assert cpuinfo.count("CPU part\t: 0xd08") == device.cores
    assert f"Model\t\t: {device.title} (EMULATED by qemu-user)" in cpuinfo
    assert f"Features\t: {' '.join(device.isa_features)}\n" in cpuinfo

    cpus = tmp_path / "sys/devices/system/cpu"
    assert (cpus / "online").read_text() == f"0-{device.cores - 1}\n"
    assert len(list(cpus.glob("cpu[0-9]*"))) == device.cores
    assert (cpus / "cpu0/cpufreq/cpuinfo_max_freq").read_text() == f"{device.clock_mhz}000\n"
    assert (cpus / "cpu0/cache/index0/size").read_text() == f"{device.l1d_bytes // 1024}K\n"
    assert (cpus / "cpu0/cache/index1/size").read_text() == f"{device.l2_bytes // 1024}K\n"


def test_a_core_that_cannot_be_emulated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="carmel"):
        write_profile(load_device("jetson-xavier-cpu"), tmp_path)
    assert list(tmp_path.iterdir()) == []

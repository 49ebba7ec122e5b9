"""What the board says of itself: /proc/cpuinfo and /sys, made from the facts of a device.

Runtimes choose their kernels by these files, and some do not survive those of an x86 machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgekit.core.errors import UsageError
from edgekit.devices.device import Device

# MIDR_EL1 of each core type that qemu 7.2 emulates, as it emulates it: implementer, variant, architecture, part, revision.
_MIDR = {"cortex-a53": 0x410FD034, "cortex-a57": 0x411FD070, "cortex-a72": 0x410FD083, "cortex-a76": 0x414FD0B1}
_LINE_BYTES = 64  # of every one of them
_LEAST_MHZ = 600


def check_emulated(device: Device) -> None:
    """Raises UsageError where qemu has no core of the device's type."""
    _midr_of(device)


def write_profile(device: Device, folder: Path) -> None:
    """Writes `proc/cpuinfo` and `sys/` into a folder. Every core is as the fastest of a board with two kinds.

    Raises UsageError for a device whose core type cannot be emulated.
    """
    midr = _midr_of(device)
    files = {
        "proc/cpuinfo": _cpuinfo(device, midr),
        "sys/firmware/devicetree/base/model": f"{_model(device)}\0",
        **dict(_cpus(device, midr)),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _midr_of(device: Device) -> int:
    try:
        return _MIDR[device.mcpu]
    except KeyError as error:
        raise UsageError(
            f"the cores of {device.name}, {device.mcpu}, cannot be emulated",
            hint=f"choose a device with one of these: {', '.join(_MIDR)}",
        ) from error


def _model(device: Device) -> str:
    return f"{device.title} (EMULATED by qemu-user)"


def _cpuinfo(device: Device, midr: int) -> str:
    core = {
        "BogoMIPS": "108.00",
        "Features": " ".join(device.isa_features),
        "CPU implementer": f"{midr >> 24:#04x}",
        "CPU architecture": "8",
        "CPU variant": f"{midr >> 20 & 0xF:#x}",
        "CPU part": f"{midr >> 4 & 0xFFF:#05x}",
        "CPU revision": f"{midr & 0xF}",
    }
    cores = (
        "".join(f"{name}\t: {value}\n" for name, value in ({"processor": str(number)} | core).items())
        for number in range(device.cores)
    )
    return "\n".join((*cores, f"Hardware\t: {device.soc}\nModel\t\t: {_model(device)}\n"))


def _cpus(device: Device, midr: int) -> Iterator[tuple[str, str]]:
    all_cores = f"0-{device.cores - 1}"
    for name in ("possible", "present", "online"):
        yield f"sys/devices/system/cpu/{name}", f"{all_cores}\n"
    for number in range(device.cores):
        facts = {
            "cpufreq/cpuinfo_max_freq": device.clock_mhz * 1000,
            "cpufreq/cpuinfo_min_freq": _LEAST_MHZ * 1000,
            "cpufreq/scaling_cur_freq": device.clock_mhz * 1000,
            "cpufreq/scaling_governor": "performance",
            "regs/identification/midr_el1": f"{midr:#018x}",
            "topology/core_cpus_list": number,
            "topology/core_id": number,
            "topology/core_siblings_list": all_cores,
            "topology/package_cpus_list": all_cores,
            "topology/physical_package_id": 0,
            "topology/thread_siblings_list": number,
        }
        caches = ((1, "Data", device.l1d_bytes, str(number)), (2, "Unified", device.l2_bytes, all_cores))
        for index, (level, kind, size_bytes, shared_by) in enumerate(caches):
            facts |= {
                f"cache/index{index}/coherency_line_size": _LINE_BYTES,
                f"cache/index{index}/level": level,
                f"cache/index{index}/shared_cpu_list": shared_by,
                f"cache/index{index}/size": f"{size_bytes // 1024}K",
                f"cache/index{index}/type": kind,
            }
        for name, value in facts.items():
            yield f"sys/devices/system/cpu/cpu{number}/{name}", f"{value}\n"

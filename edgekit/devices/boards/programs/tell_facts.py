"""Tells what a board is, and in which state: the standard library alone, from Python 3.9."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_CPUS, _ZONES = "devices/system/cpu/cpu[0-9]*/cpufreq/", "class/thermal/thermal_zone*/temp"
# Each of the first that is installed.
_RUNTIMES = (("ai-edge-litert", "tflite-runtime", "tensorflow"), ("onnxruntime",), ("apache-tvm",))


def read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").replace("\0", "\n").strip()
    except OSError:
        return ""


def read_all(pattern: str) -> list[str]:
    return [read(str(path)) for path in sorted(Path("/sys").glob(pattern))]


def state() -> dict[str, Any]:
    """Governor and clock of each core in MHz, the hottest zone in degrees, and the firmware's throttling flags."""
    return {
        "governors": read_all(_CPUS + "scaling_governor"),
        "clocks_mhz": [int(text or 0) / 1000 for text in read_all(_CPUS + "scaling_cur_freq")],
        "temperature_c": degrees(read_all(_ZONES)),
        "throttled": throttled(),
        "load": os.getloadavg()[0],
    }


def throttled() -> int | None:
    """The bits of `vcgencmd get_throttled`, where there is one."""
    try:
        asked = ["vcgencmd", "get_throttled"]
        said = subprocess.run(asked, capture_output=True, timeout=5, check=True).stdout  # noqa: S603
        return int(said.decode().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def cpuinfo(text: str) -> tuple[list[tuple[str, str]], list[str], str]:
    """Of /proc/cpuinfo: implementer and part of each core, the features of the first, and the board's model."""
    lines = [line.partition(":") for line in text.splitlines()]
    told = [(key.strip(), value.strip()) for key, _, value in lines]
    implementers = [value for key, value in told if key == "CPU implementer"]
    parts = [value for key, value in told if key == "CPU part"]
    features = [value for key, value in told if key in ("Features", "flags")]
    models = [value for key, value in told if key == "Model"]
    cores = list(zip(implementers, parts))  # noqa: B905 (from Python 3.10)
    return cores, features[0].split() if features else [], models[0] if models else ""


def ram_bytes(text: str) -> int:
    """Of /proc/meminfo."""
    total = [line.split() for line in text.splitlines() if line.startswith("MemTotal:")]
    return int(total[0][1]) * 1024 if total else 0


def degrees(texts: list[str]) -> float | None:
    """Of the hottest thermal zone; None where none tells."""
    told = [int(text) / 1000 for text in texts if text.lstrip("-").isdigit()]
    return max(told) if told else None


def signs_of_emulation(machine: str) -> Iterator[str]:
    """Each is something that no real board shows. qemu in user mode answers /proc/self itself, but not /proc/thread-self."""
    kernel = read("/proc/sys/kernel/arch")
    if kernel and kernel != machine and machine == "aarch64":
        yield "its kernel is one for " + kernel
    if machine == "aarch64" and "x86_" in read("/proc/thread-self/status"):
        yield "its kernel lists x86 features"
    try:
        real = Path("/proc/thread-self/exe").readlink().name
        if "qemu" in real:
            yield "its programs are run by " + real
    except OSError:
        pass
    told = read("/proc/cpuinfo") + read("/proc/device-tree/model") + read("/proc/device-tree/compatible")
    for word in ("EMULATED", "QEMU", "dummy-virt"):
        if word in told:
            yield "it calls itself " + word
    if Path("/sys/firmware/qemu_fw_cfg").exists() or "QEMU" in read("/sys/class/dmi/id/sys_vendor"):
        yield "its firmware is QEMU's"


def runtime(packages: Sequence[str]) -> str:
    """The first of these packages that is installed, with its version."""
    try:
        from importlib.metadata import PackageNotFoundError, version
    except ImportError:
        return ""
    for name in packages:
        try:
            return name + " " + version(name)
        except PackageNotFoundError:
            pass
    return ""


def facts(workspace: str) -> dict[str, Any]:
    machine = os.uname().machine
    parts, features, model = cpuinfo(read("/proc/cpuinfo"))
    disk = os.statvfs(workspace)
    return {
        "machine": machine,
        "kernel": os.uname().release,
        "model": read("/proc/device-tree/model") or model,
        "cores": os.cpu_count(),
        "cpu_parts": parts,
        "features": features,
        "ram_bytes": ram_bytes(read("/proc/meminfo")),
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "python": sys.version.split()[0],
        "runtime": ", ".join(filter(None, map(runtime, _RUNTIMES))),
        "signs_of_emulation": list(signs_of_emulation(machine)),
        "state": state(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts(sys.argv[1])))

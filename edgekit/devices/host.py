"""Facts of the machine that edgekit runs on, as its system tells them."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

_CPUINFO, _CPUS = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu")
_UNITS = {"K": 2**10, "M": 2**20}


def host_facts() -> dict[str, Any]:
    """What a device.toml says of other boards: 0 and empty where the system does not tell.

    The clock is the highest that the system allows, or the one in the processor's name: not the one of the moment, so that the same
    machine always has the same facts.
    """
    cpuinfo = _cpuinfo()
    machine = platform.machine()
    model = cpuinfo.get("model name") or platform.processor() or machine
    return {
        "soc": cpuinfo.get("Hardware", ""),
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "clock_mhz": _clock_mhz(model),
        "l1d_bytes": _cache_bytes(level=1, kinds={"Data", "Unified"}),
        "l2_bytes": _cache_bytes(level=2, kinds={"Unified"}),
        "ram_bytes": [_ram_bytes()],
        "isa": machine,
        "isa_features": (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split(),
        "triple": f"{machine}-linux-gnu" if sys.platform == "linux" else f"{machine}-{sys.platform}",
        "mcpu": "native",
        "sources": ["read from this machine's operating system"],
    }


def _cpuinfo() -> dict[str, str]:
    """Of the first processor."""
    pairs = (line.split(":", 1) for line in _text(_CPUINFO).splitlines() if ":" in line)
    found: dict[str, str] = {}
    for key, value in pairs:
        found.setdefault(key.strip(), value.strip())
    return found


def _clock_mhz(model: str) -> int:
    khz = _text(_CPUS / "cpu0" / "cpufreq" / "cpuinfo_max_freq").strip()
    if khz.isdigit():
        return int(khz) // 1000
    named = re.search(r"([\d.]+)\s*GHz", model)
    return round(1000 * float(named.group(1))) if named else 0


def _cache_bytes(*, level: int, kinds: set[str]) -> int:
    for cache in sorted((_CPUS / "cpu0" / "cache").glob("index*")):
        size = re.fullmatch(r"(\d+)([KM])", _text(cache / "size").strip())
        if size and _text(cache / "level").strip() == str(level) and _text(cache / "type").strip() in kinds:
            return int(size.group(1)) * _UNITS[size.group(2)]
    return 0


def _ram_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def _text(path: Path) -> str:
    """Empty where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

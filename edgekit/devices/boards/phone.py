"""A phone without Python: facts from its shell, latencies from TFLite's own program for Android."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgekit.core.errors import BoardError, LostBoardError
from edgekit.core.records import sha256_of
from edgekit.devices.boards.facts import BoardFacts, BoardState
from edgekit.devices.boards.measurement import BoardRun, Latencies
from edgekit.devices.boards.programs.tell_facts import cpuinfo, degrees, ram_bytes
from edgekit.devices.boards.remote import last_line
from edgekit.devices.boards.transport import Transport
from edgekit.devices.device import Protocol

_PROGRAM: Final = Path(__file__).with_name("programs") / "tell_facts.sh"
_FACTS_S: Final = 30.0
# How far the median of warming up may be from that of the runs.
_SETTLED: Final = 0.05
_STATISTICS: Final = re.compile(r"count=(\d+)\b.*?\bmin=(\S+).*?\bmedian=(\S+) p95=(\S+)")
_WARMED_UP: Final = re.compile(r"count=(\d+)\b.*?\bmedian=(\S+) p95=")


def phone_facts(transport: Transport, workspace: str) -> BoardFacts:
    """Raises BoardError where its shell does not answer as Android's do."""
    program = f"{workspace}/{_PROGRAM.name}"
    transport.push(_PROGRAM, program)
    done = transport.exec(["sh", program, workspace], timeout_s=_FACTS_S)
    told = _sections(done.stdout)
    try:
        cores, features, model = cpuinfo(told["/proc/cpuinfo"])
        room = told["room"].splitlines()[-1].split()
        machine = told["machine"]
        return BoardFacts(
            machine=machine,
            kernel=told["kernel"],
            model=told["model"] or model,
            cores=len(cores),
            cpu_parts=tuple(cores),
            features=tuple(features),
            ram_bytes=ram_bytes(told["/proc/meminfo"]),
            free_bytes=int(room[3]) * 1024,
            python="none",
            runtime="benchmark_model",
            signs_of_emulation=_signs_of_emulation(told, machine),
            state=_state(told),
        )
    except (KeyError, IndexError, ValueError) as error:
        raise BoardError(
            f"its shell did not say what it is: {last_line(done.stderr)}", hint="check that `adb shell` works by hand"
        ) from error


def measure_on_phone(
    transport: Transport,
    path: Path,
    program: Path,
    workspace: str,
    protocol: Protocol,
    *,
    seconds: float,
    limit_s: float,
) -> BoardRun:
    """As the program measures: so many runs of warming up, then as many as the protocol asks for, in at most `seconds`."""
    sha256, of_program = sha256_of(path), sha256_of(program)
    remote = {
        path: f"{workspace}/{sha256[:16]}{path.suffix}",
        program: f"{workspace}/benchmark_model-{of_program[:16]}",
    }
    for source, target in remote.items():
        transport.push(source, target)
    transport.exec(["chmod", "700", remote[program]], timeout_s=_FACTS_S)
    before = phone_facts(transport, workspace).state
    done = transport.exec(
        [
            remote[program],
            f"--graph={remote[path]}",
            f"--num_threads={protocol.threads}",
            f"--warmup_runs={protocol.warmup_runs_max}",
            f"--num_runs={protocol.runs}",
            f"--max_secs={seconds:g}",
        ],
        timeout_s=limit_s,
    )
    if done.code:
        raise BoardError(
            f"benchmark_model failed with exit code {done.code}: {last_line(done.stderr or done.stdout)}",
            hint="use the benchmark_model for this phone's Android, from a TFLite that knows the file's operators",
        )
    warm_up_runs, warm_up_ms, latencies = read_benchmark(done.stdout + done.stderr)
    summed = transport.exec(["sha256sum", remote[path]], timeout_s=_FACTS_S).stdout.split()
    if summed[:1] != [sha256]:
        raise LostBoardError(f"{path} arrived damaged", hint="free some space on the board")
    return BoardRun(
        latencies=latencies,
        warm_up_runs=warm_up_runs,
        settled=abs(warm_up_ms / latencies.median_ms - 1) <= _SETTLED,
        executed={},
        before=before,
        after=phone_facts(transport, workspace).state,
        protocol=protocol,
        runtime=f"benchmark_model {of_program[:8]}",
        sha256=sha256,
        peak_rss_bytes=None,
    )


def read_benchmark(text: str) -> tuple[int, float, Latencies]:
    """What `benchmark_model` prints: runs and median ms of warming up, and the latencies. Times in it are microseconds.

    Raises BoardError where it prints no medians, as older ones do not.
    """
    lines = [line for line in text.splitlines() if "count=" in line]
    warmed_up = _WARMED_UP.search(lines[0]) if len(lines) > 1 else None
    timed = _STATISTICS.search(lines[-1]) if len(lines) > 1 else None
    if warmed_up is None or timed is None:
        raise BoardError(
            "benchmark_model printed no medians for the warm-up and the runs",
            hint="use a newer one, which prints count, min, median and p95",
        )
    runs, least_us, median_us, high_us = timed.groups()
    latencies = Latencies(
        runs=int(runs),
        least_ms=float(least_us) / 1000,
        median_ms=float(median_us) / 1000,
        high_ms=float(high_us) / 1000,
        high_percent=95,
    )
    return int(warmed_up.group(1)), float(warmed_up.group(2)) / 1000, latencies


def _sections(text: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("== "):
            name = line.removeprefix("== ").strip()
        found.setdefault(name, []).append("" if line.startswith("== ") else line)
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def _state(told: Mapping[str, str]) -> BoardState:
    return BoardState(
        governors=tuple(_ending(told, "scaling_governor")),
        clocks_mhz=tuple(int(text or 0) / 1000 for text in _ending(told, "scaling_cur_freq")),
        temperature_c=degrees(list(_ending(told, "temp"))),
        throttled=None,
        load=None,
    )


def _ending(told: Mapping[str, str], name: str) -> Sequence[str]:
    return [text for path, text in sorted(told.items()) if path.endswith(f"/{name}")]


def _signs_of_emulation(told: Mapping[str, str], machine: str) -> tuple[str, ...]:
    signs: dict[str, Any] = {
        f"its kernel is one for {told.get('/proc/sys/kernel/arch')}": told.get("/proc/sys/kernel/arch", machine)
        != machine,
        "it says that qemu runs it": "qemu" in told["emulator"] or told["emulator"].splitlines()[:1] == ["1"],
        "it calls itself EMULATED": "EMULATED" in told["/proc/cpuinfo"],
    }
    return tuple(sign for sign, shown in signs.items() if shown)

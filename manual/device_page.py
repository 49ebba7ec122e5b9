"""The page of a device: its facts, whose figures predict it and how well, and where all of it is from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgekit.devices.device import Device, Figures, list_devices
from edgekit.devices.origins import Origin, origins_of

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def device_pages(folder: Path) -> dict[str, str]:
    """The Markdown of each device that ships, by file name; the machine at hand is none."""
    return {f"{device.name}.md": device_page(device) for device in list_devices(folder) if device.name != "host"}


def device_page(device: Device) -> str:
    return "\n".join(
        (
            f"# {device.title}",
            "",
            f"`--target {device.name}`, also called {', '.join(device.aliases)}.",
            "",
            *_table(("fact", ""), _facts(device)),
            "",
            "## Where its latencies come from",
            "",
            *_table(
                ("target", "90 % interval", "from"), (_origin_row(device, origin) for origin in origins_of(device))
            ),
            "",
            *_own_error(device),
            *(f"{runtime.name}: {runtime.note}\n" for runtime in device.runtimes if runtime.note),
            "How far to trust that: [the cost model](../cost-model.md). Measure your own: [boards](../boards.md).",
            "",
            *_figures(device.figures),
            "## Sources",
            "",
            *(f"- {source}" for source in device.sources),
            *(
                f"- latencies of {runtime.name} {runtime.version}: {runtime.source}, {runtime.source_url} ({runtime.licence})"
                for runtime in device.runtimes
                if runtime.has_figures
            ),
            "",
        )
    )


def _facts(device: Device) -> Iterable[tuple[str, str]]:
    yield "system on chip", device.soc
    yield "processor", f"{device.cores} cores, {device.cpu}, {device.clock_mhz} MHz"
    yield "caches", f"L1d {device.l1d_bytes:,} bytes a core, L2 {device.l2_bytes:,} bytes"
    yield "memory", " or ".join(f"{size / 2**30:g} GiB" for size in device.ram_bytes)
    yield "instructions", f"{device.isa}: {' '.join(device.isa_features)}"
    yield "compiled for", f"{device.triple}, {device.mcpu}"
    yield (
        "built for unless told",
        f"{device.default_runtime}-{device.default_precision}, {device.default_threads} threads",
    )
    yield (
        "measured with",
        f"{device.protocol.runs} runs after at most {device.protocol.warmup_runs_max} of warming up, "
        f"{device.protocol.threads} threads, governor {device.protocol.governor}",
    )


def _origin_row(device: Device, origin: Origin) -> tuple[str, str, str]:
    width = f"its relative's, {origin.relative.spread:g} times either way" if origin.relative else "its own"
    if origin.word == "tflite" or "times:" in origin.reason:
        width = "wider still: another runtime"
    return f"`{device.name}:{origin.name}`", width, origin.reason


def _own_error(device: Device) -> Iterable[str]:
    path = RESULTS / f"cost_model_{device.name}.json"
    if not path.exists():
        return
    record = json.loads(path.read_text())
    yield f"Error of its own cost model on networks left out one at a time (`python benchmarks/cost_model.py {device.name}`):"
    yield ""
    yield from _table(
        ("precision", "mean error", "largest", "90 % intervals that hold"),
        ((precision, *_errors(record[precision])) for precision in ("int8", "fp32") if precision in record),
    )
    yield ""


def _errors(record: dict[str, Any]) -> tuple[str, str, str]:
    error = record["leave_one_out"]["cost model"]
    return f"{error['mape']:.1%}", f"{error['max']:.1%}", f"{record['intervals']['coverage']:.0%}"


def _figures(figures: Sequence[Figures]) -> Iterable[str]:
    if not figures:
        return
    yield "## Figures by which it is compared with others"
    yield ""
    yield "Published by others; no cost model is fitted to them."
    yield ""
    for one in figures:
        yield f"- **{one.runtime}** ({one.version}) on {one.board} at {one.clock_mhz} MHz, date {one.date}: {one.source}, "
        yield f"  {one.source_url} ({one.licence}). {one.note}"
    yield ""


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"

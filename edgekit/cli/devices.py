"""edgekit devices"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.console import Console, output_options

if TYPE_CHECKING:
    from edgekit.devices.device import Device


@click.group()
def devices() -> None:
    """The boards that edgekit knows."""


@devices.command("list")
@output_options
def list_(*, console: Console) -> None:
    """List all boards."""
    from edgekit.devices.device import list_devices

    known = list_devices()
    if console.as_json:
        console.json({"devices": [_record(device) for device in known]})
        return
    rows = ((device.name, device.title, device.cpu, ", ".join(_runtimes(device))) for device in known)
    console.table(("name", "title", "cpu", "runtimes"), rows)


@devices.command()
@click.argument("name")
@output_options
def show(*, console: Console, name: str) -> None:
    """Show the facts of one board, with their sources."""
    from edgekit.devices.device import load_device

    device = load_device(name)
    if console.as_json:
        console.json(_record(device))
        return
    console.facts(
        {
            "name": device.name,
            "title": device.title,
            "also called": ", ".join(device.aliases),
            "soc": device.soc,
            "cpu": f"{device.cores} cores, {device.cpu}, {device.clock_mhz} MHz",
            "caches": f"L1d {device.l1d_bytes:,} bytes a core, L2 {device.l2_bytes:,} bytes",
            "RAM": " or ".join(f"{size:,}" for size in device.ram_bytes) + " bytes",
            "instructions": f"{device.isa}, {' '.join(device.isa_features)}",
            "default": f"{device.default_runtime}-{device.default_precision}, {device.default_threads} threads",
            **{
                f"runtime {runtime.name}": f"{runtime.version}, {', '.join(runtime.precisions)}; {runtime.source}"
                for runtime in device.runtimes
            },
            "sources": "; ".join(device.sources),
        }
    )


def _runtimes(device: Device) -> list[str]:
    return [f"{runtime.name}-{precision}" for runtime in device.runtimes for precision in runtime.precisions]


def _record(device: Device) -> dict[str, Any]:
    return {**asdict(device), "folder": str(device.folder)}

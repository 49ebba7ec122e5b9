"""edgekit devices"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.console import Console, number, output_options
from edgekit.cli.progress import stages

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
    rows = (
        (device.name, device.title, device.cpu, ", ".join(_runtimes(device)), _latencies_from(device))
        for device in known
    )
    console.table(("name", "title", "cpu", "runtimes", "latencies from"), rows)


@devices.command()
@click.argument("name")
@output_options
def show(*, console: Console, name: str) -> None:
    """Show the facts of one board, with their sources."""
    from edgekit.devices.device import load_device
    from edgekit.devices.origins import origins_of

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
            "cpu": f"{device.cores} cores, {device.cpu}, {device.clock_mhz or 'unknown'} MHz",
            "caches": f"L1d {device.l1d_bytes:,} bytes a core, L2 {device.l2_bytes:,} bytes",
            "RAM": " or ".join(f"{size:,}" for size in device.ram_bytes) + " bytes",
            "instructions": f"{device.isa}, {' '.join(device.isa_features)}",
            "triple": f"{device.triple}, {device.mcpu}" + (f", TVM tag {device.tvm_tag}" if device.tvm_tag else ""),
            "measured with": (
                f"{device.protocol.runs} runs after at most {device.protocol.warmup_runs_max} of warming up, "
                f"{device.protocol.threads} threads, governor {device.protocol.governor}"
            ),
            "default": f"{device.default_runtime}-{device.default_precision}, {device.default_threads} threads",
            **{
                f"runtime {runtime.name}": f"{runtime.version}, {', '.join(runtime.precisions)}; {runtime.source}"
                for runtime in device.runtimes
                if runtime.has_figures
            },
            **{f"latency {origin.name}": origin.reason for origin in origins_of(device)},
            **{f"note {runtime.name}": runtime.note for runtime in device.runtimes if runtime.note},
            **{
                f"figures {figures.name}": f"{figures.runtime} on {figures.board}, date {figures.date}; {figures.source}"
                for figures in device.figures
            },
            "sources": "; ".join(device.sources),
        }
    )


@devices.command()
@click.argument("name")
@click.option(
    "--measurements",
    required=True,
    type=click.Path(path_type=Path),
    help="CSV with the columns file (.tflite, beside it or by whole path) and p50_ms; ten files or more of a precision.",
)
@click.option("--like", required=True, metavar="DEVICE", help="A known device whose facts (caches, instructions) hold.")
@click.option("--threads", type=click.IntRange(min=1), required=True, help="That the files were measured with.")
@click.option("--runtime-version", required=True, metavar="TEXT", help="Of TFLite, such as 2.16.1.")
@click.option("--overwrite", is_flag=True, help="Replace the device of that name.")
@output_options
def calibrate(
    *,
    console: Console,
    name: str,
    measurements: Path,
    like: str,
    threads: int,
    runtime_version: str,
    overwrite: bool,
) -> None:
    """Make a device NAME of your own from latencies that you measured.

    \b
    edgekit devices calibrate my-board --measurements mine.csv --like rpi4 --threads 4 --runtime-version 2.16.1
    edgekit build --target my-board --task "stop, yield" -o out/
    """
    from edgekit.pipeline.calibrate import calibrate as run

    result = run(name, measurements, like=like, threads=threads, runtime_version=runtime_version, overwrite=overwrite)
    if console.as_json:
        console.json(result.to_json())
        return
    console.table(
        ("precision", "networks", "taken for", "error of networks left out"),
        ((str(one.precision), str(one.networks), one.taken_for, f"{one.error.value:.1%}") for one in result.precisions),
    )
    console.line()
    console.facts({"device": result.device, "folder": result.folder})


@devices.command()
@click.option("--like", required=True, metavar="TARGET", help="A known target; its precision is that of the files.")
@click.option("--count", type=int, default=12, show_default=True, help="Files to write, ten or more.")
@click.option("--model", default="signs43", show_default=True, help="The supernet whose networks they are.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace an older folder of probes.")
@click.option("--seed", type=int, default=0, show_default=True)
@output_options
def probes(*, console: Console, like: str, count: int, model: str, output: Path, overwrite: bool, seed: int) -> None:
    """Write networks to measure on a board of your own, with a table for their latencies.

    \b
    edgekit devices probes --like rpi4:tflite-int8 -o probes/
    (measure each file on the board, write the medians into probes/measurements.csv)
    edgekit devices calibrate my-board --measurements probes/measurements.csv --like rpi4 --threads 4 --runtime-version 2.16.1
    """
    from edgekit.pipeline.probes import write_probes

    with stages(console) as progress:
        written = write_probes(
            output, like=like, count=count, model=model, overwrite=overwrite, seed=seed, progress=progress
        )
    if console.as_json:
        console.json({"folder": str(output), "probes": [probe.to_json() for probe in written]})
        return
    console.table(("file", "MACs", "genotype"), ((probe.file, number(probe.macs), probe.genotype) for probe in written))


def _runtimes(device: Device) -> list[str]:
    return [f"{runtime.name}-{precision}" for runtime in device.runtimes for precision in runtime.precisions]


def _latencies_from(device: Device) -> str:
    from edgekit.devices.origins import origins_of

    origins = origins_of(device)
    words = {origin.word for origin in origins}
    return words.pop() if len(words) == 1 else ", ".join(f"{origin.name}: {origin.word}" for origin in origins)


def _record(device: Device) -> dict[str, Any]:
    from edgekit.devices.origins import origins_of

    latencies = [origin.to_json() for origin in origins_of(device)]
    return {**asdict(device), "folder": str(device.folder), "latencies": latencies}

"""edgekit devices"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.console import Console, number, output_options
from edgekit.cli.help import Group
from edgekit.cli.progress import stages
from edgekit.core.errors import UsageError

if TYPE_CHECKING:
    from edgekit.devices.boards.board import Board
    from edgekit.devices.device import Device


@click.group(cls=Group)
def devices() -> None:
    """Devices that edgekit knows, and boards that it reaches."""


@devices.command("list")
@output_options
def list_(*, console: Console) -> None:
    """List all devices.

    \b
    edgekit devices list
    """
    from edgekit.devices.device import list_devices

    known = list_devices()
    if console.as_json:
        console.json({"devices": [_record(device) for device in known]})
        return
    rows = (
        (device.name, device.title, device.cpu, ", ".join(one.name for one in device.runtimes), _latencies_from(device))
        for device in known
    )
    console.table(("name", "title", "cpu", "runtimes", "latencies from"), rows)


@devices.command()
@click.argument("name")
@output_options
def show(*, console: Console, name: str) -> None:
    """Show the facts of one device, with their sources.

    \b
    edgekit devices show rpi4
    edgekit devices show "raspberry pi 4" --json
    """
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
@output_options
def boards(*, console: Console) -> None:
    """List the boards that can be reached: those of boards.toml, and this machine.

    \b
    edgekit devices boards
    """
    from edgekit.devices.boards.board import list_boards

    known = list_boards()
    if console.as_json:
        console.json({"boards": [_board_record(board) for board in known]})
        return
    console.table(
        ("name", "device", "reached by", "emulated"),
        ((board.name, board.device, board.address, "yes" if board.emulated else "no") for board in known),
    )


@devices.command()
@click.argument("board")
@output_options
def probe(*, console: Console, board: str) -> None:
    """Ask BOARD what it is, and check it against its device.

    \b
    edgekit devices probe pi
    """
    from edgekit.pipeline.on_board import probe as run

    facts = run(board)
    if console.as_json:
        console.json({"board": board, **facts.to_json()})
        return
    state = facts.state
    console.facts(
        {
            "board": board,
            "model": facts.model or "not told",
            "machine": f"{facts.machine}, Linux {facts.kernel}",
            "cpu": f"{facts.cores} cores, {', '.join(facts.cpus) or 'kind not told'}",
            "RAM": f"{facts.ram_bytes:,} bytes",
            "room": f"{facts.free_bytes:,} bytes in the workspace",
            "python": facts.python,
            "runtime": facts.runtime or "none: install ai-edge-litert",
            "governor": ", ".join(sorted(set(state.governors))) or "not told",
            "clock": ", ".join(f"{clock:.0f} MHz" for clock in sorted(set(state.clocks_mhz))) or "not told",
            "temperature": "not told" if state.temperature_c is None else f"{state.temperature_c:.0f} degrees",
            "throttled": "not told" if state.throttled is None else f"{state.throttled:#x}",
            "emulated": "; ".join(facts.signs_of_emulation) or "no sign of it",
        }
    )


@devices.command()
@click.argument("name")
@click.option(
    "--measurements",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV with the columns file (.tflite, beside it or with its whole path) and p50_ms; ten files or more per precision.",
)
@click.option("--board", metavar="BOARD", help="Measure on this board, one of `edgekit devices boards`.")
@click.option(
    "--budget",
    type=int,
    metavar="N",
    help="With --board: how many networks to measure in each precision.  [default: 15]",
)
@click.option("--like", metavar="DEVICE", help="A known device with the same facts (caches, instructions).")
@click.option("--threads", type=click.IntRange(min=1), help="With --measurements: how many threads the files ran on.")
@click.option("--runtime-version", metavar="TEXT", help="With --measurements: the version of TFLite, such as 2.16.1.")
@click.option("--overwrite", is_flag=True, help="Replace the device of that name.")
@output_options
def calibrate(
    *,
    console: Console,
    name: str,
    measurements: Path | None,
    board: str | None,
    budget: int | None,
    like: str | None,
    threads: int | None,
    runtime_version: str | None,
    overwrite: bool,
) -> None:
    """Make a device NAME of your own from latencies measured on its board.

    edgekit measures them with --board, or you measure them and give them with --measurements. With --board, a calibration that
    was stopped or that lost its board goes on when the same command is given again.

    \b
    edgekit devices calibrate my-board --board pi
    edgekit devices calibrate my-board --measurements mine.csv \\
        --like rpi4 --threads 4 --runtime-version 2.16.1
    edgekit build --target my-board --task "stop, yield" -o out/
    """
    if (measurements is None) == (board is None):
        raise UsageError("give either --measurements or --board", hint="see edgekit devices calibrate --help")
    if board is not None:
        if threads is not None or runtime_version is not None:
            raise UsageError("--threads and --runtime-version go with --measurements", hint="leave them out")
        from edgekit.pipeline.calibrate_on_board import calibrate_on_board

        with stages(console) as progress:
            result = calibrate_on_board(
                name, board, like=like, budget=15 if budget is None else budget, overwrite=overwrite, progress=progress
            )
    elif measurements is not None:
        if budget is not None or like is None or threads is None or runtime_version is None:
            raise UsageError(
                "--measurements goes with --like, --threads and --runtime-version, and without --budget",
                hint="see edgekit devices calibrate --help",
            )
        from edgekit.pipeline.calibrate import calibrate as run

        result = run(
            name, measurements, like=like, threads=threads, runtime_version=runtime_version, overwrite=overwrite
        )
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
@click.option("--like", required=True, metavar="TARGET", help="A known target; the files have its precision.")
@click.option("--count", type=int, default=12, show_default=True, help="How many files to write, ten or more.")
@click.option("--model", default="signs43", show_default=True, help="The supernet that the networks come from.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace an older folder of probes.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random choices.")
@output_options
def probes(*, console: Console, like: str, count: int, model: str, output: Path, overwrite: bool, seed: int) -> None:
    """Write networks to measure on a board of your own, with a table for their latencies.

    Measure each file on the board, write the medians into measurements.csv of the folder, and calibrate from it.

    \b
    edgekit devices probes --like rpi4:tflite-int8 -o probes/
    edgekit devices calibrate my-board --measurements probes/measurements.csv \\
        --like rpi4 --threads 4 --runtime-version 2.16.1
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


def _board_record(board: Board) -> dict[str, Any]:
    return {"address": board.address, **asdict(board)}


def _latencies_from(device: Device) -> str:
    """Of its default runtime."""
    from edgekit.devices.origins import origins_of

    origins = [origin for origin in origins_of(device) if origin.name.startswith(f"{device.default_runtime}-")]
    words = {origin.word for origin in origins}
    return words.pop() if len(words) == 1 else ", ".join(f"{origin.name}: {origin.word}" for origin in origins)


def _record(device: Device) -> dict[str, Any]:
    from edgekit.devices.origins import origins_of

    latencies = [origin.to_json() for origin in origins_of(device)]
    return {**asdict(device), "folder": str(device.folder), "latencies": latencies}

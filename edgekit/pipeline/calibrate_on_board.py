"""A device of the user's own, measured on its board: probes are made, run one after the other, and never run twice."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit.core.data_folders import user_folder
from edgekit.core.errors import BadInputError, BoardError, UsageError
from edgekit.core.records import check_replaceable, read_json, write_bytes, write_json
from edgekit.devices.boards.board import Board, load_board
from edgekit.devices.boards.facts import check_architecture, check_board, check_real
from edgekit.devices.boards.session import BoardSession, open_board
from edgekit.devices.device import Device, Protocol, load_device
from edgekit.devices.target import Precision, Target
from edgekit.pipeline.calibrate import MARKER, RUNTIME, CalibrationResult, calibrate, check_name
from edgekit.pipeline.probes import Probe, check_count, write_probes

_SETTINGS, _TABLE = "settings.json", "measurements.csv"
_SECONDS = 10.0

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What an unfinished calibration is of: another one cannot go on from it."""

    board: str
    like: str
    budget: int
    threads: int
    seed: int
    schema_version: int = 1


def calibrate_on_board(
    name: str,
    board: str,
    *,
    like: str | None = None,
    budget: int = 15,
    overwrite: bool = False,
    seed: int = 0,
    progress: Progress = lambda _stage: None,
) -> CalibrationResult:
    """Measures `budget` networks in each precision that the device `like` runs, and fits a cost model as `calibrate` does.

    `like` is the board's device where that is a known one. Measurements are kept as they are made, in a folder beside the user's
    devices: a calibration that was stopped, or whose board was lost, goes on where it was when it is called again.
    Raises UsageError for a name that is taken or cannot be one and for other settings than those of an unfinished calibration,
    BoardError where the board does not answer, is in use, or is not what it is said to be, UnstableError for times that cannot be
    trusted.
    """
    check_name(name)
    check_count(budget)
    check_replaceable(user_folder("devices") / name, overwrite=overwrite, marker=MARKER)
    attached = load_board(board)
    relative = load_device(_like(attached, name, like))
    settings = Settings(board=board, like=relative.name, budget=budget, threads=relative.protocol.threads, seed=seed)
    work = user_folder("devices") / f".{name}.calibrating"
    with open_board(attached) as session:
        _check(session, relative, said=attached.device == name)
    _open(work, settings)
    probes = _probes(work, relative, settings, progress)
    with open_board(attached) as session:
        runtime = _measure_all(session, work, probes, relative.protocol, progress)
    result = calibrate(
        name,
        work / _TABLE,
        like=relative.name,
        threads=settings.threads,
        runtime_version=runtime,
        overwrite=overwrite,
    )
    shutil.rmtree(work)
    return result


def _like(board: Board, name: str, like: str | None) -> str:
    """The device whose facts hold. A board may already be described as the device that is being made."""
    if like is not None:
        return like
    if board.device == name:
        raise UsageError(
            f"{board.name} is a {name}, a device that does not exist yet",
            hint="give a known device with the same facts with --like",
        )
    return board.device


def _check(session: BoardSession, relative: Device, *, said: bool) -> None:
    """A board whose description names the new device need only run the relative's programs."""
    facts = session.facts()
    if session.board.emulated:
        raise BoardError(f"{session.board.name} is emulated: it has no latencies", hint="calibrate on a real board")
    if said:
        check_real(session.board, facts)
        check_architecture(session.board, facts, relative)
    else:
        check_board(session.board, facts, relative)


def _open(work: Path, settings: Settings) -> None:
    path = work / _SETTINGS
    if not path.exists():
        write_json(path, asdict(settings))
        return
    kept = read_json(path, schema_version=settings.schema_version)
    if kept != asdict(settings):
        differing = ", ".join(
            f"{key} {kept.get(key)}" for key, value in asdict(settings).items() if kept.get(key) != value
        )
        raise UsageError(
            f"{work} holds an unfinished calibration with {differing}",
            hint="give the same settings again, or remove that folder",
        )


def _probes(
    work: Path, relative: Device, settings: Settings, progress: Progress
) -> Mapping[Precision, tuple[Probe, ...]]:
    """Made once for each precision, in folders that appear whole."""
    found = {}
    for precision in relative.runtime(RUNTIME).precisions:
        folder, listed = work / precision, work / f"{precision}.json"
        if not listed.exists():
            target = Target(device=relative, runtime=RUNTIME, precision=precision, threads=settings.threads)
            written = write_probes(
                folder, like=str(target), count=settings.budget, overwrite=True, seed=settings.seed, progress=progress
            )
            write_json(listed, {"schema_version": 1, "probes": [probe.to_json() for probe in written]})
        record = read_json(listed, schema_version=1)
        try:
            found[precision] = tuple(Probe(**probe) for probe in record["probes"])
        except (KeyError, TypeError) as error:
            raise BadInputError(f"{listed} lists no probes: {error}", hint=f"remove {work} to start again") from error
    return found


def _measure_all(
    session: BoardSession,
    work: Path,
    probes: Mapping[Precision, tuple[Probe, ...]],
    protocol: Protocol,
    progress: Progress,
) -> str:
    """Fills the table, row by row on the disk before the next is measured; the runtime that the board names."""
    measured = _read(work / _TABLE)
    files = [f"{precision}/{probe.file}" for precision, each in probes.items() for probe in each]
    for number, file in enumerate(files):
        if file not in measured:
            progress(f"measure {number + 1} of {len(files)} on {session.board.name}")
            run = session.measure(work / file, protocol, seconds=_SECONDS)
            _check_runtime(run.runtime, measured, work, session.board)
            measured[file] = (run.timed.median_ms, run.runtime)
            write_bytes(work / _TABLE, _table(measured).encode())
    return measured[files[0]][1]


def _check_runtime(runtime: str, measured: Mapping[str, tuple[float, str]], work: Path, board: Board) -> None:
    before = {known for _, known in measured.values()}
    if before and before != {runtime}:
        raise BoardError(
            f"{board.name} now runs {runtime}, but ran {' and '.join(sorted(before))} before",
            hint=f"remove {work} to start again, or install the older runtime again",
        )


def _read(table: Path) -> dict[str, tuple[float, str]]:
    if not table.exists():
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
        return {row["file"]: (float(row["p50_ms"]), row["runtime"]) for row in rows}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadInputError(f"{table} is damaged: {error}", hint=f"remove {table.parent} to start again") from error


def _table(measured: Mapping[str, tuple[float, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "p50_ms", "runtime"])
    writer.writerows([file, latency_ms, runtime] for file, (latency_ms, runtime) in measured.items())
    return text.getvalue()

"""A device of the user's own from a table of measured model files."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import tomli_w

from edgekit.core.data_folders import data_folder, user_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import whole_folder, write_bytes, write_json
from edgekit.devices.calibration import Measurement, record_of
from edgekit.devices.cost_model import Work, total_work
from edgekit.devices.device import Device, list_devices, load_device, read_device, read_record
from edgekit.devices.known_rates import known_rates
from edgekit.devices.own_board import fit_own_board
from edgekit.devices.precision import Precision
from edgekit.exporters.foreign import read_foreign_graph
from edgekit.pipeline.profile import precision_of

MARKER, RUNTIME = "device.toml", "tflite"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    """One precision of the new device; `taken_for` says what the fit took the board for, `error` is that of networks left out."""

    precision: Precision
    networks: int
    taken_for: str
    error: Quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationResult:
    folder: Path
    device: str
    precisions: tuple[Calibrated, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "device": self.device,
            "precisions": [
                {
                    "precision": str(one.precision),
                    "networks": one.networks,
                    "taken_for": one.taken_for,
                    "error": one.error.to_json(),
                }
                for one in self.precisions
            ],
        }


def calibrate(
    name: str,
    measurements: Path | str,
    *,
    like: str,
    threads: int,
    runtime_version: str,
    overwrite: bool = False,
) -> CalibrationResult:
    """Fits a cost model to measured latencies and writes the device into the user's own device folder.

    `measurements` is a CSV with the columns `file`, a .tflite file beside the table or by its whole path, and `p50_ms`, its median
    latency at batch 1 with `threads` threads. Facts that nobody measured (caches, instruction set) are those of the device `like`.
    Raises UsageError for a name that is taken or cannot be one, BadInputError for a table or file that cannot be read and for fewer
    than ten networks of a precision.
    """
    check_name(name)
    relative = load_device(like)
    table = Path(measurements)
    measured = _read(table)
    fits = fit_own_board(measured, known_rates())
    precisions = sorted(fits, key=lambda precision: (precision is not relative.default_precision, precision))
    folder = user_folder("devices") / name
    with whole_folder(folder, overwrite=overwrite, marker=MARKER) as working:
        kept = working / f"measured_{RUNTIME}.csv"
        write_bytes(kept, _table(measured).encode())
        facts = _facts(relative, name, precisions, threads=threads, version=runtime_version, table=kept.name)
        write_bytes(working / MARKER, tomli_w.dumps(facts).encode())
        runtime = read_device(working, name=name).runtime(RUNTIME)
        record = record_of(name, runtime, kept, measured, {precision: fit for precision, (fit, _) in fits.items()})
        write_json(working / f"{RUNTIME}.json", record)
    return CalibrationResult(
        folder=folder,
        device=name,
        precisions=tuple(
            Calibrated(
                precision=precision,
                networks=sum(one.precision is precision for one in measured),
                taken_for=taken_for,
                error=Quantity(
                    value=math.expm1(fit.uncertainty.log_error_mean),
                    unit="fraction",
                    evidence=Evidence.MEASURED,
                    source=f"mean error of networks left out, {table.name}",
                ),
            )
            for precision, (fit, taken_for) in fits.items()
        ),
    )


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot be the name of a device', hint="use small letters, digits and hyphens, such as my-board"
        )
    shipped = list_devices(data_folder("devices"))
    if name in {known.lower() for device in shipped for known in (device.name, *device.aliases)}:
        raise UsageError(f'"{name}" is a device that ships with edgekit', hint="choose another name")


def _read(table: Path) -> tuple[Measurement, ...]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"cannot read {table}: {error}", hint="give a table with the columns file and p50_ms"
        ) from error
    if not rows:
        raise BadInputError(
            f"{table} holds no measurements", hint="write the columns file and p50_ms, with a row for each file"
        )
    measured = [_measurement(row, table, where=f"{table}, line {line}") for line, row in enumerate(rows, start=2)]
    seen: set[str] = set()
    for one in measured:
        if one.network in seen:
            raise BadInputError(f"{table} measures {one.network} twice", hint="keep one row for each file")
        seen.add(one.network)
    return tuple(measured)


def _measurement(row: Mapping[str, str | None], table: Path, *, where: str) -> Measurement:
    try:
        name, latency_ms = row["file"] or "", float(row["p50_ms"] or "")
        if not (name and math.isfinite(latency_ms) and latency_ms > 0):
            raise ValueError("file must be named and p50_ms positive")
    except (KeyError, ValueError) as error:
        raise BadInputError(f"{where} is not a measurement: {error}", hint="columns: file, p50_ms") from error
    path = table.parent / name
    if path.suffix == ".onnx":
        raise BadInputError(f"{where}: {path} is not a file that TFLite runs", hint="measure .tflite files")
    if not path.is_file():
        raise BadInputError(
            f"{where}: {path} does not exist", hint="write the file's path relative to the table's folder"
        )
    graph = read_foreign_graph(path)
    precision = precision_of(graph)
    return Measurement(
        network=name,
        groups=(),
        precision=precision,
        latency_ms=latency_ms,
        work=total_work(graph.operators, precision),
    )


def _facts(
    relative: Device, name: str, precisions: Sequence[Precision], *, threads: int, version: str, table: str
) -> dict[str, Any]:
    """What `device.toml` says: the relative's facts under a name of its own, and the user's measurements."""
    facts = read_record(relative.folder)
    # Figures are of the relative, and lie in its folder.
    facts.pop("figures", None)
    return facts | {
        "name": name,
        "title": f"{name}, facts of {relative.title}",
        "aliases": [],
        "default_runtime": RUNTIME,
        "default_precision": str(precisions[0]),
        "default_threads": threads,
        "protocol": facts.get("protocol", {}) | {"threads": threads},
        "runtimes": {
            RUNTIME: {
                "version": version,
                "precisions": [str(precision) for precision in precisions],
                "threads": threads,
                "calibration": table,
                "source": "measured by the user",
                "source_url": "",
                "licence": "",
                "note": f"Facts but for the runtime are those of {relative.name}.",
            }
        },
    }


def _table(measured: Sequence[Measurement]) -> str:
    """The measurements with the work of each network, so that the fit can be repeated without the files."""
    features = [feature.name for feature in fields(Work)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "precision", "p50_ms", *features])
    for one in measured:
        work = asdict(one.work)
        writer.writerow([one.network, one.precision, one.latency_ms, *(work[name] for name in features)])
    return text.getvalue()

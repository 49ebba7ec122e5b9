"""What a comparison reads of a build folder, of whatever kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import BadInputError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import read_json
from edgekit.devices.target import TargetName, split_target
from edgekit.pipeline.on_board import REPORT
from edgekit.pipeline.result import REPORT_SCHEMA


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedBuild:
    """`subject` is the task, or the network that was compressed; `made` the genotypes, or the passes. A figure of one of several
    networks has the network's name behind its own, as in "latency, 0.5ms"."""

    folder: str
    kind: str
    subject: str
    target: str
    threads: int
    board: str
    made: str
    labels: tuple[str, ...]
    figures: Mapping[str, Quantity]

    @property
    def parts(self) -> TargetName:
        """Device, runtime and precision."""
        return split_target(self.target)


def read_folder(folder: Path | str) -> ComparedBuild:
    """Raises BadInputError for a folder that holds no build, or a damaged record."""
    path = Path(folder) / REPORT
    record = read_json(path, schema_version=REPORT_SCHEMA)
    try:
        return _build(str(folder), record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged: {error}"
        raise BadInputError(f"{path} {said}", hint="name a folder of `edgekit build` or `compress`") from error


def _build(folder: str, record: Mapping[str, Any]) -> ComparedBuild:
    plan, networks = record["plan"], record.get("variants", [])
    is_compression = "recipe" in record
    if is_compression:
        made = ", ".join(step["id"] for step in record["recipe"])
    else:
        made = ", ".join(f"{one['name']} {one['genotype']}" for one in networks) or record["genotype"]
    figures = _figures(record["figures"])
    for one in networks:
        figures |= {f"{name}, {one['name']}": quantity for name, quantity in _figures(one["figures"]).items()}
    return ComparedBuild(
        folder=folder,
        kind=_kind(record),
        subject=plan["source"] if is_compression else plan["task"]["text"],
        target=plan["target"],
        threads=plan["threads"],
        board=plan.get("board", ""),
        made=made,
        labels=tuple(record["labels"]),
        figures=figures,
    )


def _kind(record: Mapping[str, Any]) -> str:
    if "recipe" in record:
        return "compression"
    if "early_exit" in record:
        return "early exit"
    return "variants" if "variants" in record else "build"


def _figures(records: list[Mapping[str, Any]]) -> dict[str, Quantity]:
    return {one["name"]: _quantity(one) for one in records}


def _quantity(record: Mapping[str, Any]) -> Quantity:
    value, interval = record["value"], record["interval"]
    low, high = (None, None) if interval is None else map(float, interval)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{record['name']} is {value!r}, not a number")
    return Quantity(
        value=value,
        unit=record["unit"],
        evidence=Evidence(record["evidence"]),
        source=record["source"],
        interval=None if low is None or high is None else (low, high),
    )

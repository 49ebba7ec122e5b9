"""Builds side by side: what each figure of the others is, against that of the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.core.quantity import Quantity
from edgekit.core.records import write_bytes
from edgekit.pipeline.comparison.conditions import Condition, Outcome, parse_condition
from edgekit.pipeline.comparison.folder import ComparedBuild, read_folder
from edgekit.pipeline.comparison.likeness import Difference, difference, unlike
from edgekit.report.comparison_page import comparison_page

COMPARISON_SCHEMA: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A figure of one build; `difference` is that from the first, None of the first itself and where the first has none."""

    quantity: Quantity
    difference: Difference | None

    def to_json(self) -> dict[str, Any]:
        record = self.quantity.to_json()
        record["value"] = self.quantity.value if math.isfinite(self.quantity.value) else None
        return {**record, "difference": self.difference.to_json() if self.difference else None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A figure; its cells are those of the builds in order, None where a build lacks it."""

    figure: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonResult:
    """`outcomes` are all conditions, put to each build but the first."""

    builds: tuple[ComparedBuild, ...]
    rows: tuple[Row, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The conditions that hold."""
        return tuple(outcome for outcome in self.outcomes if outcome.holds)

    def difference(self, figure: str, build: int = 1) -> Difference | None:
        """Of one build from the first. Raises KeyError for a figure that no build has."""
        cell = {row.figure: row for row in self.rows}[figure].cells[build]
        return cell.difference if cell else None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": COMPARISON_SCHEMA,
            "builds": [
                {
                    "folder": one.folder,
                    "kind": one.kind,
                    "subject": one.subject,
                    "target": one.target,
                    "threads": one.threads,
                    **({"board": one.board} if one.board else {}),
                    "made": one.made,
                    "labels": list(one.labels),
                }
                for one in self.builds
            ],
            "rows": [
                {"figure": row.figure, "cells": [cell.to_json() if cell else None for cell in row.cells]}
                for row in self.rows
            ],
            "conditions": [outcome.to_json() for outcome in self.outcomes],
            "failed": bool(self.failed),
        }

    def write_page(self, path: Path | str, *, overwrite: bool = False) -> None:
        """One self-contained page. Raises UsageError where the file exists and is not to be replaced, BadInputError where it
        cannot be written."""
        path = Path(path)
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists", hint="choose another file with -o, or give --overwrite")
        write_bytes(path, comparison_page(self.to_json()).encode())


def compare(
    first: Path | str, *others: Path | str, fail_on: Sequence[str] = (), allow_unlike: bool = False
) -> ComparisonResult:
    """Compares build folders with the `first`, the baseline; `fail_on` are conditions such as `latency>+5%` (docs/compare.md).

    Raises BadInputError for a folder that holds no build, and where a condition cannot be decided: a build lacks the figure, it is
    no number, or it is of other evidence, another board or other labels than the first's, unless `allow_unlike`; UsageError for
    a condition that is none, or of a figure that no build has.
    """
    if not others:
        raise UsageError("a comparison needs two builds or more", hint="edgekit compare OLD NEW")
    conditions = [parse_condition(text) for text in fail_on]
    builds = tuple(read_folder(folder) for folder in (first, *others))
    rows = tuple(
        Row(figure=name, cells=tuple(_cell(name, builds[0], build, number) for number, build in enumerate(builds)))
        for name in dict.fromkeys(name for build in builds for name in build.figures)
    )
    outcomes = tuple(
        _outcome(condition, builds[0], build, [row.figure for row in rows], allow_unlike=allow_unlike)
        for condition in conditions
        for build in builds[1:]
    )
    return ComparisonResult(builds=builds, rows=rows, outcomes=outcomes)


def _cell(name: str, first: ComparedBuild, build: ComparedBuild, number: int) -> Cell | None:
    if name not in build.figures:
        return None
    told = difference(name, first, build) if number and name in first.figures else None
    return Cell(quantity=build.figures[name], difference=told)


def _outcome(
    condition: Condition, first: ComparedBuild, build: ComparedBuild, known: Sequence[str], *, allow_unlike: bool
) -> Outcome:
    name = condition.figure
    if name not in known:
        raise UsageError(f'"{condition.text}": no build has a figure "{name}"', hint=did_you_mean(name, known))
    undecided = f'"{condition.text}" cannot be decided'
    for one in (first, build) if condition.is_change else (build,):
        if name not in one.figures:
            raise BadInputError(f"{undecided}: {one.folder} has no {name}", hint=did_you_mean(name, one.figures))
        if not math.isfinite(one.figures[name].value):
            raise BadInputError(f"{undecided}: {name} of {one.folder} is no number", hint="build the folder anew")
    value, against, remark = build.figures[name].value, 0.0, ""
    if condition.is_change:
        against = first.figures[name].value
        if not allow_unlike and (reason := unlike(name, first, build)):
            raise BadInputError(
                f"{undecided}: {name} of {build.folder} and of {first.folder}, {reason}",
                hint="compare builds for one board that were judged in one way, or give --allow-unlike",
            )
        remark = difference(name, first, build).reason
    return Outcome(
        condition=condition,
        folder=build.folder,
        holds=condition.holds(value, against),
        value=value,
        first_folder=first.folder,
        first=against if condition.is_change else None,
        limit=float(condition.limit(against)),
        unit=build.figures[name].unit,
        remark=remark,
    )

"""A build folder that was made elsewhere: its records are made to name this place and these inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.records import read_json, write_json
from edgekit.pipeline.build_folder import write_report
from edgekit.pipeline.plan import PLAN_SCHEMA, BuildPlan
from edgekit.pipeline.result import REPORT_SCHEMA


def move_records(folder: Path, place: Path, planned: BuildPlan, *, cached: Mapping[str, str] | None = None) -> None:
    """Of the build in `folder`, on its way to `place`. `cached` is what the report then says of the cache that it came from.

    Folders of pictures have the same content and other names; nothing else of the plan changes. Raises BadInputError.
    """
    plan = _with_paths(read_json(folder / "plan.json", schema_version=PLAN_SCHEMA), planned)
    record = read_json(folder / "report.json", schema_version=REPORT_SCHEMA)
    record |= {"folder": str(place), "plan": plan, **({} if cached is None else {"cached": dict(cached)})}
    write_json(folder / "plan.json", plan)
    (folder / "report.json").unlink()  # the sums are of all others
    write_report(folder, record)


def _with_paths(plan: dict[str, Any], planned: BuildPlan) -> dict[str, Any]:
    ours = planned.to_json()
    examples = {name: ours["task"][name] for name in ("examples",) if name in ours["task"]}
    return {**plan, "task": {**plan["task"], **examples}, "calibration": ours["calibration"]}

"""The workflow of docs/compare.md: what it may do, and that the commands in it exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from manual_pages import check_call

from edgekit.pipeline.comparison.conditions import parse_condition

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"


def workflow() -> dict[Any, Any]:
    (fence,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(yaml.safe_load(fence))


def test_a_strangers_pull_request_may_read_and_nothing_else() -> None:
    read = workflow()
    assert set(read[True]) == {"pull_request"}  # YAML 1.1 takes the key `on` for true
    assert read["permissions"] == {"contents": "read"}
    (job,) = read["jobs"].values()
    assert job["runs-on"].startswith("ubuntu-")
    assert 0 < job["timeout-minutes"] <= 60
    checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 3
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_its_commands_and_conditions_exist() -> None:
    (job,) = workflow()["jobs"].values()
    lines = [line for step in job["steps"] for line in step.get("run", "").splitlines() if line.startswith("edgekit ")]
    commands = [shlex.split(line) for line in lines]
    assert [words[1] for words in commands] == ["build", "build", "compare"]
    for words in commands:
        check_call(words)
    compare = commands[-1]
    conditions = [compare[at + 1] for at, word in enumerate(compare) if word == "--fail-on"]
    assert [parse_condition(text).figure for text in conditions] == ["latency", "size", "accuracy"]

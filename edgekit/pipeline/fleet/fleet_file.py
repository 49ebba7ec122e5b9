"""`fleet.toml`: tasks x targets x budgets, as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from edgekit.core.budget import Budget
from edgekit.core.errors import BadInputError
from edgekit.core.names import did_you_mean
from edgekit.pipeline.build_config import KEYS, parse_budget, parse_values, read_toml, unfit
from edgekit.pipeline.fleet.member import Member

_OF_ALL: Final = ("model", "data", "seed", "runtime")
_OF_A_TASK: Final = ("task", "examples", "presence", "grouped", "other", *_OF_ALL)
_OWN: Final = ("targets", "tasks", "budgets", "exclude")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PAGE: Final = "docs/fleet.md"


def read_fleet(path: Path) -> tuple[Member, ...]:
    """The members that the file at `path` asks for, task by task; folders are named as seen from its own.

    Raises BadInputError for a file that cannot be read, for unknown keys and for values that are none.
    """
    record = read_toml(path, missing=f"see {_PAGE}", page=_PAGE)
    return parse_fleet(record, where=str(path), folder=path.parent)


def parse_fleet(record: Mapping[str, Any], *, where: str, folder: Path) -> tuple[Member, ...]:
    """`where` is what errors call the file; `folder` is where relative paths start. Raises BadInputError."""
    ours = {name: record[name] for name in record if name not in _OWN}
    shared = _inputs(ours, _OF_ALL, where, folder, elsewhere=_OWN)
    tasks = {
        name: {**shared, **_task(value, f"{where}, tasks.{name}", folder)}
        for name, value in _named(record, "tasks", where)
    }
    budgets = {name: _budget(value, f"{where}, budgets.{name}") for name, value in _named(record, "budgets", where)}
    targets = _texts(record, "targets", where)
    if not tasks or not targets:
        raise BadInputError(f"{where} names no {'targets' if tasks else 'tasks'}", hint=f"see {_PAGE}")
    members = [
        _member(task, inputs, target, budget, limits)
        for task, inputs in tasks.items()
        for target in targets
        for budget, limits in (budgets or {"": Budget()}).items()
    ]
    _check_names(members, where)
    return tuple(_without(members, _texts(record, "exclude", where), where))


def _member(task: str, inputs: Mapping[str, Any], target: str, budget: str, limits: Budget) -> Member:
    name = "-".join(filter(None, (task, re.sub(r"[^A-Za-z0-9_.-]+", "-", target), budget)))
    return Member(name=name, task_name=task, target=target, budget_name=budget, budget=limits, inputs=inputs)


def _task(value: object, where: str, folder: Path) -> dict[str, Any]:
    if isinstance(value, str):
        return _inputs({"task": value}, _OF_A_TASK, where, folder)
    if not isinstance(value, Mapping):
        raise BadInputError(f"{where} is neither a text nor a table", hint=f"see {_PAGE}")
    inputs = _inputs(value, _OF_A_TASK, where, folder)
    if ("task" in inputs) == ("examples" in inputs):
        raise BadInputError(f"{where} needs one of task and examples", hint=f"see {_PAGE}")
    return inputs


def _budget(value: object, where: str) -> Budget:
    if not isinstance(value, Mapping):
        raise BadInputError(f"{where} is no table", hint='limits such as { latency_ms = 1.0, macs = "25%" }')
    return parse_budget(value, where=where, page=_PAGE)


def _inputs(
    values: Mapping[str, Any], names: Sequence[str], where: str, folder: Path, *, elsewhere: Sequence[str] = ()
) -> dict[str, Any]:
    keys = [key for key in KEYS if key.name in names]
    return parse_values(values, keys, where=where, folder=folder, elsewhere=elsewhere, page=_PAGE)


def _named(record: Mapping[str, Any], key: str, where: str) -> Iterator[tuple[str, object]]:
    """Tables with names that become part of a folder's."""
    tables = record.get(key, {})
    if not isinstance(tables, Mapping):
        raise unfit(where, key, tables, "a table", page=_PAGE)
    for name, value in tables.items():
        if not _NAME.fullmatch(name):
            raise BadInputError(
                f'{where}: "{name}" in {key} names no folder', hint="use letters, digits, and - _ . between them"
            )
        yield name, value


def _texts(record: Mapping[str, Any], key: str, where: str) -> Sequence[str]:
    texts = record.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise unfit(where, key, texts, "a list of texts", page=_PAGE)
    return texts


def _check_names(members: Sequence[Member], where: str) -> None:
    """Members live in folders of their names."""
    seen: dict[str, Member] = {}
    for member in members:
        other = seen.setdefault(member.name, member)
        if other is not member:
            raise BadInputError(
                f'{where}: two members would be called "{member.name}"',
                hint=f"rename a task or a budget, and name each target once ({other.target}, {member.target})",
            )


def _without(members: Sequence[Member], patterns: Sequence[str], where: str) -> Iterator[Member]:
    for pattern in patterns:
        if not any(fnmatchcase(member.name, pattern) for member in members):
            names = (member.name for member in members)
            raise BadInputError(
                f'{where}: no member is called "{pattern}", in exclude', hint=did_you_mean(pattern, names)
            )
    return (one for one in members if not any(fnmatchcase(one.name, pattern) for pattern in patterns))

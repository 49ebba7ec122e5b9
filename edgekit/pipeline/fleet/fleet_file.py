"""`fleet.toml`: tasks x targets x budgets, as people write them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from edgekit.core.budget import Budget, Limit, parse_limit
from edgekit.core.errors import BadInputError, EdgekitError
from edgekit.core.names import did_you_mean
from edgekit.pipeline.fleet.member import Member
from edgekit.supernet.storage import list_supernets

_TEXT, _FLAG, _NUMBER = (str,), (bool,), (int,)
_OF_ALL: Final = {"model": _TEXT, "data": _TEXT, "seed": _NUMBER, "runtime": _TEXT}
_OF_A_TASK: Final = {"task": _TEXT, "examples": _TEXT, "presence": _FLAG, "grouped": _FLAG, "other": _FLAG, **_OF_ALL}
_OF_A_FLEET: Final = {**_OF_ALL, "targets": (list,), "tasks": (dict,), "budgets": (dict,), "exclude": (list,)}
_OF_A_BUDGET: Final = {limit.name: (int, float, str) for limit in fields(Budget)}
_WORDS: Final = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a table",
}
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PAGE: Final = "see docs/fleet.md"


def read_fleet(path: Path) -> tuple[Member, ...]:
    """The members that the file at `path` asks for, task by task; folders are named as seen from its own.

    Raises BadInputError for a file that cannot be read, for unknown keys and for values that are none.
    """
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint=_PAGE) from error
    except ValueError as error:
        raise BadInputError(f"{path} is not TOML: {error}", hint=_PAGE) from error
    return parse_fleet(record, where=str(path), folder=path.parent)


def parse_fleet(record: Mapping[str, Any], *, where: str, folder: Path) -> tuple[Member, ...]:
    """`where` is what errors call the file; `folder` is where relative paths start. Raises BadInputError."""
    _check(record, _OF_A_FLEET, where)
    shared = _inputs({name: record[name] for name in _OF_ALL if name in record}, folder)
    tasks = {
        name: {**shared, **_inputs(_task(value, f"{where}, tasks.{name}"), folder)}
        for name, value in _named(record, "tasks", where)
    }
    budgets = {name: _budget(value, f"{where}, budgets.{name}") for name, value in _named(record, "budgets", where)}
    targets = _texts(record, "targets", where)
    if not tasks or not targets:
        raise BadInputError(f"{where} names no {'targets' if tasks else 'tasks'}", hint=_PAGE)
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


def _task(value: object, where: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"task": value}
    if not isinstance(value, Mapping):
        raise BadInputError(f"{where} is neither a text nor a table", hint=_PAGE)
    _check(value, _OF_A_TASK, where)
    if ("task" in value) == ("examples" in value):
        raise BadInputError(f"{where} needs one of task and examples", hint=_PAGE)
    return value


def _budget(value: object, where: str) -> Budget:
    if not isinstance(value, Mapping):
        raise BadInputError(f"{where} is no table", hint='limits such as { latency_ms = 1.0, macs = "25%" }')
    _check(value, _OF_A_BUDGET, where)
    try:
        return Budget(**{name: _limit(limit, name) for name, limit in value.items()})
    except EdgekitError as error:
        raise BadInputError(f"{where}: {error.message}", hint=error.hint) from error


def _limit(value: float | str, name: str) -> Limit:
    return parse_limit(value, name=name) if isinstance(value, str) else value


def _inputs(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Folders, and files of labels, as seen from `folder`. A model is a name that ships, else a folder."""
    inputs = dict(values)
    for name in ("examples", "data"):
        if name in inputs:
            inputs[name] = str(folder / inputs[name])
    if "model" in inputs and inputs["model"] not in list_supernets() and (folder / inputs["model"]).exists():
        inputs["model"] = str(folder / inputs["model"])
    if "task" in inputs:
        text = inputs["task"]
        file = folder / text.removeprefix("@")
        if text.startswith("@") or (text.endswith(".txt") and file.is_file()):
            inputs["task"] = f"@{file}"
    return inputs


def _check(table: Mapping[str, Any], known: Mapping[str, tuple[type, ...]], where: str) -> None:
    for name, value in table.items():
        if name not in known:
            raise BadInputError(f'{where}: unknown key "{name}"', hint=f"{did_you_mean(name, known)} ({_PAGE})")
        if type(value) not in known[name]:
            expected = " or ".join(dict.fromkeys(_WORDS[kind] for kind in known[name]))
            raise BadInputError(f"{where}: {name} = {value!r} is not {expected}", hint=_PAGE)


def _named(record: Mapping[str, Any], key: str, where: str) -> Iterator[tuple[str, object]]:
    """Tables with names that become part of a folder's."""
    for name, value in record.get(key, {}).items():
        if not _NAME.fullmatch(name):
            raise BadInputError(
                f'{where}: "{name}" in {key} names no folder', hint="use letters, digits, and - _ . between them"
            )
        yield name, value


def _texts(record: Mapping[str, Any], key: str, where: str) -> Sequence[str]:
    texts: Sequence[Any] = record.get(key, [])
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise BadInputError(f"{where}: {text!r} in {key} is not a text", hint=_PAGE)
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

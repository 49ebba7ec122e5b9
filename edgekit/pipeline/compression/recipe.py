"""An ordered list of passes with their options, as people write it and as a build folder keeps it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgekit.core.errors import BadInputError, UsageError
from edgekit.passes.contract import Pass
from edgekit.passes.registry import make_pass

_SCHEMA_VERSION = 1
_HINT = "expected [[passes]] tables, each with an id and options; see docs/compress.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Passes in the order in which they run."""

    passes: tuple[Pass, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything needed to run it again; options at their defaults are written too."""
        return {"schema_version": _SCHEMA_VERSION, "passes": [{"id": one.id, **_options(one)} for one in self.passes]}

    def then(self, *passes: Pass) -> Recipe:
        return Recipe(passes=(*self.passes, *passes))

    def __str__(self) -> str:
        return ", ".join(text_of(one) for one in self.passes) or "nothing"


def text_of(one: Pass) -> str:
    """Its id with the options that are not at their defaults, as `parse_step` reads it."""
    plain = {field.name: field.default for field in fields(one)}  # type: ignore[arg-type]
    changed = [f"{name}={_text(value)}" for name, value in _options(one).items() if value != plain[name]]
    return ",".join([one.id, *changed])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _options(one: Pass) -> dict[str, Any]:
    return {
        field.name: value
        for field in fields(one)  # type: ignore[arg-type]
        if (value := getattr(one, field.name)) is not None
    }


def read_recipe(path: Path) -> Recipe:
    """From TOML, or from the `recipe.json` of a build folder. Raises BadInputError, and UsageError for unknown names."""
    try:
        content = path.read_bytes()
        record = json.loads(content) if path.suffix == ".json" else tomllib.loads(content.decode())
    except OSError as error:
        raise BadInputError(f"cannot read the recipe {path}: {error.strerror}", hint="give a .toml file") from error
    except ValueError as error:
        raise BadInputError(f"{path} is not a recipe: {error}", hint=_HINT) from error
    steps = record.get("passes") if isinstance(record, dict) else None
    if not isinstance(steps, list) or not steps:
        raise BadInputError(f"{path} lists no passes", hint=_HINT)
    unknown = sorted(set(record) - {"passes", "schema_version"})
    if unknown:
        raise BadInputError(f'{path}: unknown key "{unknown[0]}"', hint=_HINT)
    return Recipe(passes=tuple(_made(path, number, step) for number, step in enumerate(steps, 1)))


def _made(path: Path, number: int, step: object) -> Pass:
    if not isinstance(step, Mapping) or not isinstance(step.get("id"), str):
        raise BadInputError(f"{path}: pass {number} has no id", hint=_HINT)
    return make_pass(step["id"], {name: value for name, value in step.items() if name != "id"})


def parse_recipe(steps: Sequence[str]) -> Recipe:
    """Of `ID[,OPTION=VALUE...]` each. Raises UsageError and BadInputError."""
    return Recipe(passes=tuple(parse_step(step) for step in steps))


def parse_step(text: str) -> Pass:
    pass_id, *pairs = text.split(",")
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f'"{pair}" in "{text}" is not an option', hint="write ID,OPTION=VALUE")
        options[name.strip()] = _value(value.strip())
    return make_pass(pass_id.strip(), options)


def _value(text: str) -> Any:
    """As TOML reads it; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text

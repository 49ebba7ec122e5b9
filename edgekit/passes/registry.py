"""All passes by id: edgekit's own, and those of other packages (entry points of the group `edgekit.passes`, named by id)."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from importlib import import_module
from importlib.metadata import entry_points
from itertools import pairwise
from typing import Any, Final

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.passes.contract import Pass

_GROUP: Final = "edgekit.passes"
_OWN: Final = {
    "fold::batch_norm": "edgekit.passes.fold:FoldBatchNorm",
    "fold::reparameterise": "edgekit.passes.reparameterise:Reparameterise",
    "prune::channels": "edgekit.passes.channels:PruneChannels",
    "prune::fedtiny": "edgekit.passes.fedtiny:FedTiny",
    "prune::net_trim": "edgekit.passes.net_trim:NetTrim",
    "quant::int4_weights": "edgekit.passes.quantization:Int4Weights",
    "quant::int8": "edgekit.passes.quantization:Int8",
    "quant::nncf": "edgekit.passes.nncf:Nncf",
    "swap::ghost": "edgekit.passes.ghost:SwapGhost",
    "swap::ghost_v2": "edgekit.passes.ghost:SwapGhostV2",
    "swap::repghost": "edgekit.passes.ghost:SwapRepGhost",
    "train::distil": "edgekit.passes.distillation:Distil",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option of a pass; `search` are the values that a recipe search tries."""

    name: str
    kind: type
    default: Any
    help: str
    search: Sequence[Any]

    @property
    def type_name(self) -> str:
        return _expected(self.kind)


def pass_ids() -> tuple[str, ...]:
    """In alphabetical order. Raises UsageError where another package claims an id that is taken."""
    foreign = [entry.name for entry in entry_points(group=_GROUP)]
    ids = sorted([*_OWN, *foreign])
    for one, next_ in pairwise(ids):
        if one == next_:
            raise UsageError(f"two installed packages define the pass {one}", hint="uninstall one of them")
    return tuple(ids)


def pass_class(pass_id: str) -> type[Pass]:
    """Raises UsageError for an id that nobody registered."""
    if pass_id not in pass_ids():
        raise UsageError(f'"{pass_id}" is not a pass', hint=did_you_mean(pass_id, pass_ids()))
    if pass_id in _OWN:
        module, _, name = _OWN[pass_id].partition(":")
        kind: type[Pass] = getattr(import_module(module), name)
        return kind
    (entry,) = entry_points(group=_GROUP, name=pass_id)
    foreign: type[Pass] = entry.load()
    return foreign


def options_of(kind: type[Pass]) -> tuple[Option, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(
        Option(
            name=field.name,
            kind=hints[field.name],
            default=None if field.default is MISSING else field.default,
            help=field.metadata.get("help", ""),
            search=field.metadata.get("search", ()),
        )
        for field in fields(kind)  # type: ignore[arg-type]
    )


def make_pass(pass_id: str, given: Mapping[str, Any]) -> Pass:
    """With options as TOML has them. Raises UsageError for an unknown pass or option, BadInputError for a value of another type."""
    kind = pass_class(pass_id)
    options = {option.name: option for option in options_of(kind)}
    values = {}
    for name, value in given.items():
        if name not in options:
            raise UsageError(f'{pass_id} has no option "{name}"', hint=did_you_mean(name, options))
        values[name] = _as(options[name].kind, value, f"{pass_id}: {name}")
    return kind(**values)


def _as(kind: Any, value: Any, where: str) -> Any:
    """An int is taken for a float; a string for one of an enumeration."""
    kinds = typing.get_args(kind) or (kind,)
    for one in kinds:
        if one is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
                return float(value)
        elif type(value) is one:
            return value
        if value in _members(one):
            return one(value)
    raise BadInputError(f"{where} is {value!r}, expected {_expected(kind)}", hint="see `edgekit passes show`")


def _expected(kind: Any) -> str:
    kinds = [one for one in typing.get_args(kind) or (kind,) if one is not type(None)]
    return " or ".join(", ".join(_members(one)) or one.__name__ for one in kinds)


def _members(kind: Any) -> list[str]:
    """The values of an enumeration."""
    return [str(value) for value in kind] if isinstance(kind, type) and issubclass(kind, StrEnum) else []

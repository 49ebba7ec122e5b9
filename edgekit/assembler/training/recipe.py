"""A recipe of training: TOML written by people, checked at the border."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from edgekit.core.errors import BadInputError
from edgekit.core.names import did_you_mean

_TOML_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "dict[str, Any]": (dict,),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How to train a supernet with its generator. `supernet` is the table that `SupernetSpec.from_json` reads."""

    name: str
    data: str
    licence: str
    seed: int
    steps: int
    warmup_steps: int
    batch: int
    held_out: float
    warmup_learning_rate: float
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    smallest_limit: float
    largest_limit: float
    supernet: dict[str, Any]

    def __post_init__(self) -> None:
        wrong = {
            "steps": self.steps < 1,
            "warmup_steps": not 0 <= self.warmup_steps <= self.steps,
            "batch": self.batch < 2,
            "held_out": not 0 < self.held_out < 1,
            "smallest_limit": not 0 < self.smallest_limit < self.largest_limit <= 1,
        }
        for key, is_wrong in wrong.items():
            if is_wrong:
                raise BadInputError(f"recipe: {key} = {getattr(self, key)} makes no sense", hint="see docs/training.md")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Raises BadInputError for a missing file, broken TOML, and unknown, missing or mistyped keys."""
        try:
            record = tomllib.loads(path.read_text())
        except OSError as error:
            raise BadInputError(f"cannot read {path}: {error.strerror}", hint="name a recipe.toml") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInputError(f"{path} is not TOML: {error}", hint="see models/signs43/recipe.toml") from error
        types = {field.name: str(field.type) for field in fields(cls)}
        for key in record:
            if key not in types:
                raise BadInputError(f'{path}: unknown key "{key}"', hint=did_you_mean(key, types))
        for key, expected in types.items():
            if key not in record:
                raise BadInputError(f'{path}: key "{key}" is missing', hint="see models/signs43/recipe.toml")
            value = record[key]
            fits = isinstance(value, _TOML_TYPES[expected])
            if not fits or isinstance(value, bool):
                raise BadInputError(
                    f'{path}: "{key}" must be of type {expected}', hint="see models/signs43/recipe.toml"
                )
        return cls(**record)

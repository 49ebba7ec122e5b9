"""A recipe of training: TOML written by people, checked at the border."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from edgekit.assembler.training.augmentation import Augmentation
from edgekit.assembler.training.optimizers import OptimizerKind
from edgekit.core.errors import BadInputError
from edgekit.core.names import did_you_mean
from edgekit.supernet.spec import SupernetSpec

_TOML_TYPES: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "str": ("text", (str,)),
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "bool": ("true or false", (bool,)),
    "tuple[float, ...]": ("a list", (list,)),
    "OptimizerKind": ("text", (str,)),
    "Augmentation": ("a table", (dict,)),
    "dict[str, Any]": ("a table", (dict,)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How to train a supernet; docs/training.md tells what each key means.

    `supernet` is the table that `SupernetSpec.from_json` reads once the number of labels is known; `size_shares` says for which
    share of the steps the full network is trained at each image size. With `bfloat16` networks are computed in it under autocast;
    weights, losses and moments of normalisation stay float32.
    """

    name: str
    data: str
    licence: str
    seed: int
    steps: int
    warmup_steps: int
    batch: int
    accumulate: int
    bfloat16: bool
    optimizer: OptimizerKind
    held_out: float
    warmup_learning_rate: float
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    all_labels: float
    smallest_limit: float
    largest_limit: float
    size_shares: tuple[float, ...]
    augmentation: Augmentation
    supernet: dict[str, Any]

    def __post_init__(self) -> None:
        sizes = SupernetSpec.from_json(self.supernet, labels=1).image_sizes
        shares = [share if isinstance(share, (int, float)) else math.nan for share in self.size_shares]
        rules = {
            "name": (self.name != "", "a name"),
            "seed": (0 <= self.seed < 2**32, "a whole number from 0, below 2**32"),
            "steps": (self.steps >= 1, "at least 1"),
            "size_shares": (
                len(shares) == len(sizes)
                and all(share >= 0 for share in shares)
                and shares[-1] > 0
                and abs(sum(shares) - 1) < 1e-6,
                f"{len(sizes)} shares of 1, one for each of image_sizes, the last above 0",
            ),
            # Statistics that are frozen before they were taken would be none.
            "warmup_steps": (
                sum(shares[:-1]) * self.steps < self.warmup_steps <= self.steps,
                "at most steps, and reach past the step at which the last of size_shares begins",
            ),
            "accumulate": (self.accumulate >= 1, "at least 1"),
            "batch": (
                self.batch >= 2 and self.batch % (2 * max(1, self.accumulate)) == 0,
                "a multiple of 2 x accumulate: each part is made of pairs of images",
            ),
            "held_out": (0 < self.held_out < 1, "between 0 and 1"),
            "warmup_learning_rate": (0 < self.warmup_learning_rate < math.inf, "above 0"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0, below 1"),
            "all_labels": (0 <= self.all_labels <= 1, "from 0 to 1"),
            "smallest_limit": (0 < self.smallest_limit < self.largest_limit, "above 0, below largest_limit"),
            "largest_limit": (0 < self.largest_limit <= 1, "above 0, at most 1"),
        }
        for key, (fits, expected) in rules.items():
            if not fits:
                value = getattr(self, key)
                shown = list(value) if isinstance(value, tuple) else value
                raise BadInputError(f"recipe: {key} = {shown!r} must be {expected}", hint="see docs/training.md")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Raises BadInputError for a missing file, broken TOML, and keys that are unknown, missing, mistyped or senseless."""
        try:
            record = tomllib.loads(path.read_text())
        except OSError as error:
            raise BadInputError(f"cannot read {path}: {error.strerror}", hint="give a recipe.toml") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInputError(f"{path} is not TOML: {error}", hint="see models/signs43/recipe.toml") from error
        types = {field.name: str(field.type) for field in fields(cls)}
        for key in record:
            if key not in types:
                raise BadInputError(f'{path}: unknown key "{key}"', hint=did_you_mean(key, types))
        for key, expected in types.items():
            if key not in record:
                raise BadInputError(f'{path}: key "{key}" is missing', hint="see models/signs43/recipe.toml")
            called, accepted = _TOML_TYPES[expected]
            if not isinstance(record[key], accepted) or isinstance(record[key], bool) != (accepted == (bool,)):
                raise BadInputError(
                    f'{path}: "{key}" = {record[key]!r} must be {called}', hint="see models/signs43/recipe.toml"
                )
        if record["optimizer"] not in list(OptimizerKind):
            raise BadInputError(
                f'{path}: unknown optimizer "{record["optimizer"]}"',
                hint=did_you_mean(record["optimizer"], OptimizerKind),
            )
        record["optimizer"] = OptimizerKind(record["optimizer"])
        record["size_shares"] = tuple(record["size_shares"])
        record["augmentation"] = Augmentation.from_toml(record["augmentation"])
        return cls(**record)

"""What a compression was asked for, checked before anything heavy is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import UsageError
from edgekit.devices.boards.board import Board, load_board_of
from edgekit.devices.target import Target, parse_target, split_target
from edgekit.exporters.exporter import EXPORTERS, exporter_for
from edgekit.pipeline.compression.recipe import Recipe, parse_recipe, read_recipe

SEARCHED_DROP: Final = 1.0
DEFAULT_MINUTES: Final = 10.0
_LIMITS = ("latency_ms", "size_bytes", "macs")


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressionPlan:
    """`recipe` is None where it is to be found; `max_drop` is in points of accuracy, None where no floor was asked for.
    `labels` name the outputs where the data does not."""

    source: str
    weights: Path | None
    input_shape: tuple[int, ...] | None
    data: Path
    evaluation: Path | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirror: bool
    target: Target
    recipe: Recipe | None
    max_drop: float | None
    budget: Budget
    minutes: float
    seed: int
    board: Board | None = None
    labels: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "source": self.source,
            "weights": None if self.weights is None else str(self.weights),
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "data": str(self.data),
            "evaluation": None if self.evaluation is None else str(self.evaluation),
            "mean": list(self.mean),
            "std": list(self.std),
            "mirror": self.mirror,
            "target": str(self.target),
            "threads": self.target.threads,
            **({"board": self.board.name} if self.board else {}),
            **({"labels": list(self.labels)} if self.labels else {}),
            "recipe": None if self.recipe is None else self.recipe.to_json()["passes"],
            "max_accuracy_drop": self.max_drop,
            "budget": {name: limit for name in _LIMITS if (limit := getattr(self.budget, name)) is not None},
            "minutes": self.minutes,
            "seed": self.seed,
        }


def plan_compression(
    source: str,
    *,
    data: Path | str,
    evaluation: Path | str | None = None,
    target: str = "rpi4",
    recipe: Path | str | None = None,
    passes: Sequence[str] = (),
    weights: Path | str | None = None,
    input_shape: Sequence[int] | None = None,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    mirror: bool = False,
    max_accuracy_drop: float | None = None,
    budget: Budget | None = None,
    minutes: float = DEFAULT_MINUTES,
    seed: int = 0,
    board: str | None = None,
    labels: Sequence[str] = (),
) -> CompressionPlan:
    """Raises UsageError for what contradicts itself or is out of range, BadInputError for a recipe that cannot be read."""
    if recipe is not None and passes:
        raise UsageError("both a recipe and single passes are given", hint="give --recipe or --pass, not both")
    chosen = read_recipe(Path(recipe)) if recipe is not None else parse_recipe(passes) if passes else None
    if max_accuracy_drop is not None and not 0 <= max_accuracy_drop < 100:
        raise UsageError(
            f"a drop of {max_accuracy_drop:g} points is not a limit", hint="give points from 0 to below 100"
        )
    if not (math.isfinite(minutes) and minutes > 0):
        raise UsageError(f"{minutes:g} minutes is not a time to search in", hint="give a positive number")
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise UsageError(
            "mean and std need three numbers each, and those of std must be above 0",
            hint="for example 0.485,0.456,0.406 for pixels in [0, 1]",
        )
    limits = budget or Budget()
    for limit in fields(limits):
        value = getattr(limits, limit.name)
        if value is not None and limit.name not in _LIMITS:
            raise UsageError(f"compress does not take the limit {limit.name}", hint=f"it takes {', '.join(_LIMITS)}")
        if isinstance(value, Share) and chosen is not None:
            raise UsageError("limits work only with a searched recipe", hint="leave out --recipe and --pass")
    resolved = _target(target, chosen)
    return CompressionPlan(
        source=source,
        weights=None if weights is None else Path(weights),
        input_shape=None if input_shape is None else tuple(input_shape),
        data=Path(data),
        evaluation=None if evaluation is None else Path(evaluation),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        mirror=mirror,
        target=resolved,
        recipe=chosen,
        max_drop=SEARCHED_DROP if max_accuracy_drop is None and chosen is None else max_accuracy_drop,
        budget=limits,
        minutes=minutes,
        seed=seed,
        board=None if board is None else load_board_of(board, resolved.device),
        labels=tuple(labels),
    )


def _target(text: str, recipe: Recipe | None) -> Target:
    """With the runtime that the recipe quantises for, where the text says none. Raises UsageError where it says another."""
    target = parse_target(text)
    quantizers = exporter_for(target.runtime).quantizers
    for one in recipe.passes if recipe else ():
        makers = [exporter.runtime for exporter in EXPORTERS if one.id in exporter.quantizers]
        if not makers or one.id in quantizers:
            continue
        if split_target(text).runtime is None:
            return parse_target(f"{target.device.name}:{makers[0]}-{target.precision}")
        raise UsageError(
            f"{one.id} quantises for {' and '.join(makers)}, not for {target.runtime}",
            hint=f"ask for {target.device.name}:{makers[0]}, or use the pass {quantizers[0]}",
        )
    return target

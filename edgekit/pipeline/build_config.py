"""One build as people write it in TOML: the keys, what each must be, and the arguments of `edgekit.build` that they make."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from edgekit.core.budget import Budget, Limit, Share, parse_limit
from edgekit.core.errors import BadInputError, EdgekitError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.supernet.storage import CARD

BUDGET: Final = "budget"
_LARGEST_SEED = 2**32 - 1
_PAGE = "docs/configuration.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a value must be, in words and as a test, and what is made of it, given the folder that paths start from."""

    expected: str
    fits: Callable[[Any], bool]
    taken: Callable[[Any, Path], Any] = lambda value, _folder: value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_limit(value: object) -> bool:
    if not isinstance(value, str):
        return _is_number(value)
    try:
        return isinstance(parse_limit(value, name=""), Share)
    except UsageError:
        return False


def _task(value: str, folder: Path) -> str:
    """A file of labels lies beside the configuration."""
    marked, name = value.startswith("@"), value.removeprefix("@")
    if marked or (name.endswith(".txt") and (folder / name).is_file()):
        return f"{'@' if marked else ''}{folder / name}"
    return value


def _model(value: str, folder: Path) -> str:
    """A name that ships, else a folder."""
    is_name = Path(value).name == value and not (folder / value / CARD).is_file()
    return value if is_name else str(folder / value)


def _limit(value: Any, _folder: Path) -> Limit:
    return parse_limit(value, name="") if isinstance(value, str) else float(value)


TEXT = Kind(expected="a text", fits=_is_text)
TASK = Kind(expected="a text", fits=_is_text, taken=_task)
MODEL = Kind(expected="a name or a path", fits=_is_text, taken=_model)
PATH = Kind(expected="a path", fits=_is_text, taken=lambda value, folder: str(folder / value))
FLAG = Kind(expected="true or false", fits=lambda value: isinstance(value, bool))
SEED = Kind(
    expected=f"a whole number from 0 to {_LARGEST_SEED}",
    fits=lambda value: type(value) is int and 0 <= value <= _LARGEST_SEED,
)
MINUTES = Kind(
    expected="a number above 0",
    fits=lambda value: _is_number(value) and value > 0,
    taken=lambda value, _folder: float(value),
)
PROBABILITY = Kind(expected="a number between 0 and 1", fits=lambda value: _is_number(value) and 0 < value < 1)
LIMIT = Kind(expected='a number above 0, or a share such as "25%"', fits=_is_limit, taken=_limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key of the file, with its meaning and a value to show."""

    name: str
    kind: Kind
    meaning: str
    example: str | float | bool


def _key(kind: Kind, example: str | float | bool, meaning: str) -> Any:
    return field(default=None, metadata={"kind": kind, "example": example, "meaning": meaning})


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildConfig:
    """What a file says of one build, None where it says nothing. Names are those of the arguments of `edgekit.build`, `variants`
    and `early_exit` those of `edgekit.build_variants` and `edgekit.build_early_exit`."""

    task: str | None = _key(
        TASK, "stop, yield, no entry", 'What to recognise: labels of the model, as in "stop, yield" or "kind=danger".'
    )
    examples: str | None = _key(
        PATH, "pictures", "Own classes in place of task: a folder of 5 to 50 pictures for each class."
    )
    presence: bool | None = _key(FLAG, True, "Ask whether any of the labels is in the picture: yes or no.")
    grouped: bool | None = _key(FLAG, True, "One output for each term between commas, whatever it selects.")
    other: bool | None = _key(FLAG, True, 'Add a class "other" for all labels that the task leaves out.')
    target: str | None = _key(TEXT, "rpi4", "The board, DEVICE[:RUNTIME[-PRECISION]]; `edgekit devices list`.")
    runtime: str | None = _key(TEXT, "auto", "tflite, onnx or tvm; with auto the one that evidence speaks for.")
    board: str | None = _key(TEXT, "pi", "Run the file on it too, one of `edgekit devices boards`, and tell its cost.")
    tuning_minutes: float | None = _key(MINUTES, 10.0, "TVM alone: try kernels on the board for so long.")
    model: str | None = _key(MODEL, "signs43", "A supernet, by name or folder; `edgekit models list`.")
    genotype: str | None = _key(
        TEXT, "00.0f.00.03.7f.03.03.1f", "This network, such as one of `edgekit assemble`, and no limits."
    )
    variants: str | None = _key(TEXT, "0.5,1,2ms", "A network for each of these latency limits, in one file.")
    early_exit: float | None = _key(
        PROBABILITY, 0.9, "Two networks: the answer of a small one stands where it is that sure."
    )
    data: str | None = _key(PATH, "calibration", "A folder of pictures to calibrate int8 with.")
    evaluation: str | None = _key(
        PATH, "labelled", "Measure the file's accuracy on labelled pictures: a folder for each output."
    )
    output: str | None = _key(PATH, "out", "The build folder to write.")
    seed: int | None = _key(SEED, 0, "Of all random choices.")
    budget: Budget = field(default_factory=Budget)

    def inputs(self) -> dict[str, Any]:
        """Those arguments that the file gives; `budget` is always among them."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}


KEYS: Final = tuple(Key(name=one.name, **one.metadata) for one in fields(BuildConfig) if one.metadata)

BUDGET_KEYS: Final = (
    Key(
        name="latency_ms", kind=LIMIT, meaning="At most so many milliseconds for one picture on the board.", example=1.0
    ),
    Key(name="size_bytes", kind=LIMIT, meaning="At most so many bytes of the file.", example=100_000),
    Key(name="peak_ram_bytes", kind=LIMIT, meaning="At most so many bytes for activations.", example=200_000),
    Key(name="macs", kind=LIMIT, meaning="At most so many multiply-accumulates for one picture.", example="25%"),
    Key(
        name="min_accuracy",
        kind=LIMIT,
        meaning="The fastest network that keeps this fraction; or this share of what the full supernet reaches.",
        example="95%",
    ),
)
"""Of the table [budget]; a share is one of what the full supernet costs or reaches."""

_LIMITS = tuple(key.name for key in BUDGET_KEYS)
_EXCLUDED = {
    "task": ("examples",),
    "examples": ("presence", "grouped", "other", "variants", "early_exit", "min_accuracy"),
    "genotype": ("variants", "early_exit", *_LIMITS),
    "variants": ("early_exit", "latency_ms", "runtime", "board", "tuning_minutes"),
    "early_exit": ("min_accuracy", "runtime", "board", "tuning_minutes"),
}


def exclude(one: str, other: str) -> bool:
    """Whether no build has both."""
    return other in _EXCLUDED.get(one, ()) or one in _EXCLUDED.get(other, ())


def read_build_config(path: Path) -> BuildConfig:
    """Raises BadInputError for a file that cannot be read, and for what `parse_build` refuses."""
    return parse_build(read_toml(path), where=str(path), folder=path.parent)


def read_toml(path: Path, *, missing: str = "`edgekit init` writes one", page: str = _PAGE) -> dict[str, Any]:
    """`missing` is the hint where there is no such file. Raises BadInputError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint=missing) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path} is not TOML: {error}", hint=f"see {page}") from error


def parse_build(table: Mapping[str, Any], *, where: str, folder: Path) -> BuildConfig:
    """One build out of a table of TOML; `where` names it in errors, and paths start from `folder`.

    Raises BadInputError for an unknown key, a value of another kind, and two keys that exclude each other.
    """
    own = {name: value for name, value in table.items() if name != BUDGET}
    nested = [f"{BUDGET}.{name}" for name in _LIMITS]
    values = parse_values(own, KEYS, where=where, folder=folder, elsewhere=nested)
    limits = table.get(BUDGET, {})
    if not isinstance(limits, Mapping):
        raise unfit(where, BUDGET, limits, "a table of limits")
    budget = parse_budget(limits, where=f"{where}, [{BUDGET}]")
    asked = [name for name, value in values.items() if value is not False]
    for one, other in combinations([*asked, *limits], 2):
        if exclude(one, other):
            raise BadInputError(f"{where}: {one} and {other} exclude each other", hint="leave out one of them")
    return BuildConfig(**values, budget=budget)


def parse_budget(table: Mapping[str, Any], *, where: str, page: str = _PAGE) -> Budget:
    """Raises BadInputError for an unknown key, and for what is no limit."""
    limits = parse_values(table, BUDGET_KEYS, where=where, folder=Path(), page=page)
    try:
        return Budget(**limits)
    except EdgekitError as error:
        raise BadInputError(f"{where}: {error.message}", hint=error.hint) from error


def parse_values(
    table: Mapping[str, Any],
    keys: Sequence[Key],
    *,
    where: str,
    folder: Path,
    elsewhere: Sequence[str] = (),
    page: str = _PAGE,
) -> dict[str, Any]:
    """What `keys` make of a table, which the manual describes on `page`. Raises BadInputError for an unknown key, with the nearest
    of these and of those known `elsewhere`, and for a value of another kind."""
    known = {key.name: key for key in keys}
    values = {}
    for name, value in table.items():
        if name not in known:
            hint = did_you_mean(name, [*known, *elsewhere])
            raise BadInputError(f'{where}: unknown key "{name}"', hint=f"{hint} (all of them: {page})")
        kind = known[name].kind
        if not kind.fits(value):
            raise unfit(where, name, value, kind.expected, page=page)
        values[name] = kind.taken(value, folder)
    return values


def unfit(where: str, name: str, value: object, expected: str, *, page: str = _PAGE) -> BadInputError:
    """The error of a value that is not as `expected`."""
    shown = json.dumps(value, default=str, ensure_ascii=False)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return BadInputError(f"{where}: {name} is {shown}, expected {expected}", hint=f"see {page}")

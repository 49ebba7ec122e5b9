"""Which bricks, passes and layers each runtime takes, and which of them natively, by exporting, running and looking into the files.

A cell is `native` where outputs are right and every operator runs on the runtime's own kernel in the file's precision; `runs`
where outputs are right and some operator does not, which is named; else the reason of the refusal. Bricks and layers stand
between parts whose own operators are not counted. Writes the table between the markers of docs/coverage.md too.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from coverage_kernels import OTHERWISE
from coverage_networks import Group, groups
from harness import REPO_ROOT, Table, options_of, publish

from edgekit.core.errors import EdgekitError, VerificationError
from edgekit.core.model import Model, Scheme
from edgekit.devices.precision import Precision
from edgekit.devices.target import Target, parse_target
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.exporter import exporter_for
from edgekit.exporters.layout import to_file
from edgekit.exporters.verify import verify

MANUAL: Final = REPO_ROOT / "docs" / "coverage.md"
BEGIN, END = "<!-- benchmarks/coverage.py writes from here -->\n", "<!-- to here -->\n"
RUNTIMES: Final = {"tflite": "TFLite", "onnx": "ONNX Runtime", "tvm": "TVM"}
PRECISIONS: Final = (Precision.FP32, Precision.INT8)
COLUMNS: Final = tuple((runtime, precision) for runtime in RUNTIMES for precision in PRECISIONS)
_INPUTS = 64
_AGREEMENT = 0.9
# Of the variance of a network that was never trained, whose errors nothing damps.
_LEAST_OF_INT4 = 0.5
# Checks of what a file answers; others refuse it for what it executes.
_OUTPUTS = "difference in tolerances|cosine|agreement|variance reproduced"

Column = tuple[str, Precision]
Floats = npt.NDArray[np.float32]
Cells = Mapping[str, Mapping[str, str]]
"""Of a row, by runtime and precision."""
Verdict = Literal["native", "runs", "refused", "wrong", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """`why` names the operators that do not run natively, or says why there is no file; `none`: there is no such combination."""

    verdict: Verdict
    why: str = ""


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument(
        "--only", default="", help="runs rows whose name matches this regular expression, keeps the others"
    )
    parser.add_argument("--quick", action="store_true", help="bricks alone")
    options = parser.parse_args()
    path = options.output or REPO_ROOT / "benchmarks" / "results" / "coverage.json"
    before = json.loads(path.read_text(encoding="utf-8"))["figures"]["groups"] if path.exists() else {}
    found = {}
    for group in groups():
        names = [name for name in group.rows if re.search(options.only, name)]
        fresh = (
            dict(_rows(group, names, options.seed)) if names and (group.name == "Bricks" or not options.quick) else {}
        )
        kept = before.get(group.name, {})
        found[group.name] = {
            name: fresh.get(name) or kept[name] for name in group.rows if name in fresh or name in kept
        }
    figures = {"groups": found}
    columns = ("", *(f"{RUNTIMES[runtime]} {precision}" for runtime, precision in COLUMNS))
    tables = [
        Table(name, columns, [(row, *(_text(cell) for cell in cells.values())) for row, cells in rows.items()])
        for name, rows in found.items()
    ]
    publish("coverage", tables, figures, path)
    if options.output is None:
        MANUAL.write_text(with_tables(MANUAL.read_text(encoding="utf-8"), figures), encoding="utf-8")
    return 0


def with_tables(manual: str, figures: Mapping[str, Any]) -> str:
    """The page with what a record's figures say between its markers."""
    before, _, rest = manual.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_markdown(figures)}\n{END}{after}"


def _rows(group: Group, names: Sequence[str], seed: int) -> Iterator[tuple[str, Cells]]:
    baseline = {column: found.otherwise for column, found in _found(group.baseline, seed).items()}
    for name in names:
        print(name, file=sys.stderr)
        cells = {column: _cell(found, baseline[column]) for column, found in _found(group.rows[name], seed).items()}
        yield name, {"-".join(column): asdict(cell) for column, cell in cells.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Of one network for one runtime in one precision: what runs otherwise than natively, or why there is no file."""

    otherwise: Counter[str] = field(default_factory=Counter)
    error: EdgekitError | None = None
    exists: bool = True


def _found(make: Callable[[Target], Model], seed: int) -> dict[Column, _Found]:
    model_for = cache(lambda runtime: make(parse_target(f"host:{runtime}")))
    found: dict[Column, _Found] = {}
    onnx: dict[Precision, Path] = {}
    with tempfile.TemporaryDirectory(prefix="edgekit-coverage-") as name:
        for runtime in RUNTIMES:
            made: dict[Precision, Artifact] = {}
            for precision in (Precision.INT8, Precision.FP32):
                column = (runtime, precision)
                try:
                    model = model_for(runtime)
                    scheme = model.quantization.scheme if model.quantization else None
                    if scheme is not None and (scheme is Scheme.INT8) != (precision is Precision.INT8):
                        found[column] = _Found(exists=False)
                        continue
                    inputs = _inputs(model, seed)
                    made[precision] = _file(model, column, made, inputs, Path(name))
                    if runtime == "onnx":
                        onnx[precision] = made[precision].path
                    least = _LEAST_OF_INT4 if scheme is Scheme.INT4_WEIGHTS else 0.9
                    verify(model, made[precision], inputs, min_agreement=_AGREEMENT, min_reproduced=least)
                except EdgekitError as error:
                    found[column] = _Found(error=error)
                    continue
                # A compiled library shows nothing; the .onnx file that it is compiled from was made before.
                looked_at = onnx[precision] if runtime == "tvm" else made[precision].path
                found[column] = _Found(otherwise=OTHERWISE[runtime](looked_at, precision))
    return {column: found[column] for column in COLUMNS}


def _file(model: Model, column: Column, made: Mapping[Precision, Artifact], inputs: Floats, folder: Path) -> Artifact:
    """Exported, or the float32 file that the int8 one before it was made from."""
    runtime, precision = column
    exporter = exporter_for(runtime)
    reference = made[Precision.INT8].reference if Precision.INT8 in made else None
    if precision is Precision.FP32 and reference is not None and reference.path.suffix == exporter.suffix:
        return reference
    target = parse_target(f"host:{runtime}-{precision}")
    place = folder / f"{runtime}-{precision}"
    place.mkdir()
    return exporter.export(model, target=target, calibration_N=inputs, folder=place)


def _cell(found: _Found, baseline: Counter[str]) -> Cell:
    if found.error is not None:
        wrong = isinstance(found.error, VerificationError) and re.search(_OUTPUTS, found.error.message)
        return Cell(verdict="wrong" if wrong else "refused", why=_shortened(found.error.message))
    if not found.exists:
        return Cell(verdict="none")
    names = sorted(found.otherwise - baseline)
    return Cell(verdict="runs" if names else "native", why=", ".join(names))


def _shortened(message: str) -> str:
    """One line of at most 160 letters, without the folder of a file."""
    return re.sub(r"\S*/edgekit-coverage-[^/]+/[^/]+/", "", " ".join(message.split()))[:160]


def _inputs(model: Model, seed: int) -> Floats:
    """Pixels in [0, 1] for an assembled network, normal numbers for others."""
    rng = np.random.default_rng(seed)
    shape = (_INPUTS, *model.input_shape)
    x_NCHW = rng.normal(size=shape) if model.preprocessing is None else rng.random(shape)
    return to_file(x_NCHW.astype(np.float32))


def _text(cell: Mapping[str, str]) -> str:
    return f"{cell['verdict']}: {cell['why']}" if cell["why"] else cell["verdict"]


def _markdown(figures: Mapping[str, Any]) -> str:
    """Tables, and reasons numbered below them."""
    reasons: dict[str, int] = {}
    lines: list[str] = []
    heads = [f"{RUNTIMES[runtime]} {precision}" for runtime, precision in COLUMNS]
    for group, rows in figures["groups"].items():
        lines += [f"### {group}", "", f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for row, cells in rows.items():
            lines.append(f"| {row} | {' | '.join(_marked(cell, reasons) for cell in cells.values())} |")
        lines.append("")
    lines += [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([*lines, ""] if reasons else lines)


def _marked(cell: Mapping[str, str], reasons: dict[str, int]) -> str:
    match cell["verdict"]:
        case "native":
            return "native"
        case "none":
            return ""
        case "runs":
            return f"runs: {cell['why']}"
    number = reasons.setdefault(cell["why"], len(reasons) + 1)
    return f"{cell['verdict']} ({number})"


if __name__ == "__main__":
    sys.exit(main())

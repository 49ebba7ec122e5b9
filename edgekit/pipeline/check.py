"""Checks a finished build again: its files, and what its model computes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError, UsageError, VerificationError
from edgekit.core.records import read_json, sha256_of
from edgekit.exporters.early_exit import PROGRAM
from edgekit.exporters.exporter import MODEL_FILES, exporter_of
from edgekit.pipeline.predict import network_of
from edgekit.pipeline.result import REPORT_SCHEMA

# Another machine's kernels may round an int8 probability to its neighbour, or to the one after it.
MAX_OUTPUT_DIFFERENCE = 2 / 256


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedCheck:
    name: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """Everything that was checked, and passed."""

    folder: Path
    checks: tuple[PassedCheck, ...]

    def to_json(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "checks": [asdict(check) for check in self.checks]}


def verify(folder: Path | str) -> CheckResult:
    """Hashes of all files against the report, labels inside the model, and outputs against those kept at build time; of
    every variant, where there are several.

    Raises BadInputError for a folder that is no build or a damaged record, VerificationError for what does not match.
    """
    folder = Path(folder)
    report = read_json(folder / "report.json", schema_version=REPORT_SCHEMA)
    hashes = report.get("sha256")
    if not isinstance(hashes, dict) or not hashes.keys() & {*MODEL_FILES, PROGRAM}:
        raise BadInputError(f"{folder / 'report.json'} lists no files", hint="build the folder again")
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            raise VerificationError(f"{path} is missing", hint="build the folder again")
        if sha256_of(path) != expected:
            raise VerificationError(
                f"{path} has changed since the build (SHA-256 differs)", hint="build the folder again"
            )
    files = PassedCheck(name="files", detail=f"{len(hashes)} SHA-256 sums agree with report.json")
    checks = [check for name in _variants(report, folder) for check in _check_network(report, folder, name)]
    return CheckResult(folder=folder, checks=(files, *checks))


def _variants(report: Mapping[str, Any], folder: Path) -> Sequence[str | None]:
    """The names of the networks; None is that of the only one."""
    try:
        return [str(variant["name"]) for variant in report["variants"]] if "variants" in report else [None]
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{folder / 'report.json'} names no variants", hint="build the folder again") from error


def _check_network(report: Mapping[str, Any], folder: Path, variant: str | None) -> tuple[PassedCheck, ...]:
    ending = "" if variant is None else f", {variant}"
    try:
        path, signature = network_of(folder, variant)
        exporter = exporter_of(path)
        labels = exporter.read_metadata(path, signature=signature).labels
    except UsageError as error:
        raise VerificationError(
            f"{folder} lacks the network {variant} that its report lists", hint="build it again"
        ) from error
    if list(labels) != report.get("labels"):
        raise VerificationError(
            f"the labels inside {path}{ending} differ from those in report.json", hint="build it again"
        )
    x_NHWC, p_NK = _kept_outputs(folder, variant)
    outputs = exporter.run(path, x_NHWC, signature=signature).outputs
    difference = float(np.abs(outputs - p_NK).max()) if outputs.shape == p_NK.shape else math.inf
    if not difference <= MAX_OUTPUT_DIFFERENCE:
        raise VerificationError(
            f"{path}{ending} computes different outputs than at build time: {difference:.3g} apart, at most "
            f"{MAX_OUTPUT_DIFFERENCE:.3g} is allowed",
            hint="compare the versions in env.json with those on this machine",
        )
    return (
        PassedCheck(name=f"labels{ending}", detail=f"{len(labels)} labels inside the model agree"),
        PassedCheck(
            name=f"outputs{ending}", detail=f"{len(x_NHWC)} inputs, at most {difference:.2g} from the build's outputs"
        ),
    )


def _kept_outputs(folder: Path, variant: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    prefix = "" if variant is None else f"{variant}."
    try:
        kept = load_file(folder / "outputs.safetensors")
        return kept[f"{prefix}x_NHWC"], kept[f"{prefix}p_NK"]
    except (OSError, SafetensorError, KeyError) as error:
        raise BadInputError(
            f"{folder / 'outputs.safetensors'} is damaged: {error}", hint="build the folder again"
        ) from error

"""A file of a shipped supernet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SUPERNET = "signs43"
TASK = "stop, yield"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    file: Path
    macs: float


def export(precision: str, folder: Path) -> Exported:
    from edgekit.pipeline.build import build

    result = build(task=TASK, model=SUPERNET, target=f"rpi4:tflite-{precision}", output=folder)
    return Exported(file=result.folder / "model.tflite", macs=result.figure("MACs").value)

"""The learning curve of one training: a JSON record a line, rising in `step`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgekit.core.records import write_bytes, writing_to

CURVE: Final = "curve.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    path: Path

    def cut(self, step: int) -> None:
        """Forgets what was noted past `step`: a training that goes on from there notes it again."""
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        kept = [line for line in lines if (noted := _step_of(line)) is not None and noted <= step]
        if kept != lines:
            write_bytes(self.path, b"".join(kept))

    def add(self, record: Mapping[str, Any]) -> None:
        """Raises BadInputError where it cannot be written."""
        with writing_to(self.path), self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _step_of(line: bytes) -> int | None:
    """None where the line was cut off while it was written."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else None
    except ValueError:
        return None

"""run.py of a build folder as a board runs it: by a Python that finds nothing of edgekit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.pipeline.predict import predict

# Absent are the modules of the first argument, and found is what lies in the folder of the second.
_PYTHON = """
import runpy, sys
_, absent, found, *sys.argv = sys.argv
sys.modules.update(dict.fromkeys(["edgekit", "torch", *filter(None, absent.split(","))]))
sys.path[:0] = filter(None, [found])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_program(
    folder: Path, *arguments: str | Path, absent: Sequence[str] = (), found: Path | str = ""
) -> subprocess.CompletedProcess[str]:
    """From another folder than its own."""
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            _PYTHON,
            ",".join(absent),
            str(found),
            str(folder / "run.py"),
            *map(str, arguments),
        ],
        cwd="/",
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def answers_of_run(folder: Path, *arguments: str | Path) -> list[dict[str, Any]]:
    """But for the time that they took."""
    done = run_program(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [_timeless(answer) for answer in json.loads(done.stdout)["predictions"]]


def answers_of_predict(folder: Path, pictures: Sequence[Path], **options: Any) -> list[dict[str, Any]]:
    return [_timeless(answer.to_json()) for answer in predict(folder, pictures, **options)]


def _timeless(answer: Mapping[str, Any]) -> dict[str, Any]:
    assert answer["ms"] > 0
    return {name: value for name, value in answer.items() if name != "ms"}

"""The real command, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "edgekit.cli.main")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def edgekit(
    *arguments: str | Path, cwd: Path | None = None, limits: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """`limits` runs in the new process before the command."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT,
        preexec_fn=limits,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def edgekit_json(*arguments: str | Path) -> dict[str, Any]:
    """The one object that a successful command with --json prints."""
    done = edgekit(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def assert_fails(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The documented code, one sentence with these words, the page, and no traceback."""
    assert done.returncode == code, done.stderr
    assert f"see docs/exit-codes/{code}.md" in done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr

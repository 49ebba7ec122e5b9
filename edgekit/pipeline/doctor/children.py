"""Programs that may hang or crash, ended in time and without harm to who asks."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Final

# What libraries read before they report to their makers or look for updates.
_QUIET: Final = {
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def output_of(argv: Sequence[str], *, timeout_s: float) -> tuple[str, str]:
    """What a program prints, on stdout or else stderr, and why it failed: one line, empty where it did not."""
    try:
        done = subprocess.run(  # noqa: S603 (a list of arguments, no shell)
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=os.environ | _QUIET,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"it did not end within {timeout_s:g} s"
    except OSError as error:
        return "", error.strerror or str(error)
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()
    if done.returncode < 0:
        return "", f"it crashed ({signal.Signals(-done.returncode).name})"
    if done.returncode > 0:
        told = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return "", (told[-1][-300:] if told else f"it ended with exit code {done.returncode}")
    return "\n".join(said), ""

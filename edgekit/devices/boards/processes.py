"""Programs on this machine that end in time, with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from edgekit.core.errors import LostBoardError, MissingExtraError
from edgekit.devices.boards.transport import Completed

_MOST_OUTPUT_BYTES = 16 << 20


def run(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None, package: str = "") -> Completed:
    """Raises LostBoardError where it does not end within `timeout_s`, MissingExtraError where there is no such program; `package`
    is Debian's that holds it."""
    try:
        child = subprocess.Popen(  # noqa: S603 (a list of arguments, no shell)
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
    except FileNotFoundError as error:
        hint = f"apt-get install {package}" if package else "install it, or add its folder to PATH"
        raise MissingExtraError(f"{argv[0]} is not installed", hint=hint) from error
    try:
        stdout, stderr = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise LostBoardError(
            f"{argv[0]} did not end within {timeout_s:g} s", hint="check that the board still answers, and try again"
        ) from error
    finally:
        _end(child)
    return Completed(code=child.returncode, stdout=_text(stdout), stderr=_text(stderr))


def _end(child: subprocess.Popen[bytes]) -> None:
    """With its group: whatever it started would go on without it."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe:
                pipe.close()


def _text(output: bytes) -> str:
    return output[-_MOST_OUTPUT_BYTES:].decode(errors="replace")

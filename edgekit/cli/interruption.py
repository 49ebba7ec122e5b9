"""Ctrl-C and SIGTERM."""

from __future__ import annotations

import math
import signal
import time
from types import FrameType

GRACE_S = 2.0


class Interruption:
    """Ends a command by KeyboardInterrupt, so that every `finally` on the way cleans up.

    Signals within GRACE_S of the last one are dropped: a second Ctrl-C must not cut the clean-up short.
    """

    def __init__(self) -> None:
        self._last_s = -math.inf

    @property
    def requested(self) -> bool:
        return self._last_s > -math.inf

    def check(self) -> None:
        """Between two pieces of work: ends the command where a library has swallowed the interruption."""
        if self.requested:
            raise KeyboardInterrupt

    def listen(self) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            # What a shell starts in the background is to ignore Ctrl-C.
            if signal.getsignal(name) is not signal.SIG_IGN:
                signal.signal(name, self._end)

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s >= GRACE_S:
            self._last_s = now_s
            raise KeyboardInterrupt

    def close(self) -> None:
        """The outcome stands: whatever comes while the interpreter shuts down no longer changes the exit code."""
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        # Python ends by SIGINT instead of our code where code run from C met the interruption. That leaves a mark in the
        # interpreter (unhandled_keyboard_interrupt), which only running code from text clears.
        exec("")  # noqa: S102

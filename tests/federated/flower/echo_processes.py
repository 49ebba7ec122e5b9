"""Echo servers and nodes as processes, all ended when the test is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edgekit.federated import keys

HERE = Path(__file__).parent


def _heeds_interruption() -> None:
    """What a shell starts in the background, these tests too, is to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Process:
    """Its output goes to files of its own, so that none waits for a reader."""

    def __init__(self, program: str, *arguments: str | Path, log: Path) -> None:
        self.log, self.errors = log, log.with_suffix(".errors")
        self.process = subprocess.Popen(
            [sys.executable, HERE / program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=log.open("wb"),
            stderr=self.errors.open("wb"),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=_heeds_interruption,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, name: str, *, count: int = 1, timeout_s: float = 60) -> Any:
        """What it said of that name the `count`-th time."""
        found: list[Any] = []

        def have() -> bool:
            found[:] = [record[name] for record in self.said() if name in record]
            return len(found) >= count or self.process.poll() is not None

        wait_until(have, timeout_s=timeout_s)
        assert len(found) >= count, self.errors.read_text()
        return found[count - 1]

    def end(self, number: int, *, timeout_s: float = 90) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


@contextmanager
def processes(folder: Path) -> Iterator[Callable[..., Process]]:
    """`start(program, *arguments)`."""
    with ExitStack() as stack:
        count = iter(range(1000))

        def start(program: str, *arguments: str | Path) -> Process:
            process = Process(program, *arguments, log=folder / f"{next(count)}.out")
            stack.callback(process.close)
            return process

        yield start


def fleet(folder: Path, *names: str) -> dict[str, Path]:
    """Keys of a server in `folder`/keys, and the bundle of each node."""
    keys.init(folder / "keys", hosts=["127.0.0.1"])
    bundles = {name: folder / "bundles" / name for name in names}
    for name, bundle in bundles.items():
        keys.enroll(folder / "keys", name, bundle=bundle)
    return bundles


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it takes too long"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """A zombie is none: whoever adopts it has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

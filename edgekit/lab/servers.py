"""Processes that outlive the command that started them, each stopped only as long as it is still the same process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.lab.tools import LabError, tool

_START_S, _STOP_S, _POLL_S = 30.0, 10.0, 0.05
# What adb takes for its own: its server, and the ports where it looks for emulators.
_RESERVED_PORTS = {5037, *range(5554, 5586)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """`identity` tells this process from a later one of the same number."""

    name: str
    port: int
    pid: int
    identity: str

    @property
    def alive(self) -> bool:
        return _identity_of(self.pid) == self.identity

    def stop(self) -> None:
        """Ends it and all that it has started. Raises LabError where it does not end."""
        if not self.alive:
            return
        # It waits for the first process of its namespace, with which all the others end.
        for pid in _children_of(self.pid) or [self.pid]:
            os.kill(pid, signal.SIGKILL)
        deadline_s = time.monotonic() + _STOP_S
        while self.alive:
            if time.monotonic() > deadline_s:
                raise LabError(f"{self.name}, process {self.pid}, does not stop", hint=f"kill -9 {self.pid}")
            time.sleep(_POLL_S)


def start_server(
    name: str,
    arguments: Sequence[str | Path],
    *,
    port: int,
    log: Path,
    is_ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Server:
    """Starts a program in a process namespace of its own and waits until it is ready. `environment` is added to ours.

    Raises LabError, with what the program said last, where it ends or does not get ready; then nothing is left of it.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (programs of `tool` and our own, no shell)
            [*namespace(), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd="/",
            start_new_session=True,
        )
    server = Server(name=name, port=port, pid=process.pid, identity=_identity_of(process.pid) or "")
    try:
        _wait(server, is_ready, log=log)
    except BaseException:
        server.stop()
        raise
    return server


def _wait(server: Server, is_ready: Callable[[], bool], *, log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while not is_ready():
        if not server.alive or time.monotonic() > deadline_s:
            # Not where it lies: what has not been started leaves no file.
            raise LabError(
                f"{server.name} does not answer on port {server.port}: {_end_of(log)}",
                hint="see docs/lab.md for what the lab needs",
            )
        time.sleep(_POLL_S)


def free_port(preferred: int) -> int:
    """Of 127.0.0.1: `preferred` where nobody listens there, else one that the machine chooses."""
    for port in (preferred, *(0 for _ in range(len(_RESERVED_PORTS) + 1))):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen = int(probe.getsockname()[1])
        if chosen not in _RESERVED_PORTS:
            return chosen
    raise LabError("no port of 127.0.0.1 is free", hint="stop some servers on this machine")


def namespace() -> list[str]:
    """What runs a program in a process namespace of its own: all that it starts ends with it."""
    # Users other than root may make namespaces only inside one of users.
    as_user = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    return [tool("unshare"), *as_user, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _identity_of(pid: int) -> str | None:
    """When a process was started, in this run of the machine; None where there is none."""
    try:
        # The name of the program, in parentheses, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {started}"


def _children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " ".join(lines[-3:])[-300:] or "it says nothing"

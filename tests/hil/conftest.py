"""A real sshd on loopback: what is reached through it is this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[2] / "benchmarks"), str(Path(__file__).parents[1] / "cli")]

from real_sshd import Sshd, missing, running_sshd  # noqa: E402

from edgekit.devices.boards.board import SshBoard  # noqa: E402


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if absent := missing():
        pytest.skip(absent)
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def board(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SshBoard]:
    """A board `pi` behind the sshd, with what is given changed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def described(**changes: object) -> SshBoard:
        table = sshd.table(workspace=str(tmp_path / "workspace"), python=(sys.executable,), env={}) | changes
        table.pop("transport")
        return SshBoard(name="pi", **table)

    return described


@pytest.fixture
def no_process_left(tmp_path: Path) -> Iterator[None]:
    """Neither here nor behind the sshd is anything still running that knows the test's folder."""
    yield
    left = {pid: command for pid, command in _commands() if str(tmp_path) in command}
    assert left == {}


def _commands() -> Iterator[tuple[int, str]]:
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if int(place.name) != os.getpid():
                yield int(place.name), command

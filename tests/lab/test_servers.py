"""Only what was started is stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edgekit.lab.servers import Server, free_port


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin
    process.stdin.close()


def test_a_process_that_has_got_the_number_of_a_server_is_left_alone(stranger: subprocess.Popen[bytes]) -> None:
    ended = Server(name="sshd", port=2201, pid=stranger.pid, identity="another run of the machine")
    assert not ended.alive
    ended.stop()
    assert stranger.poll() is None


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port

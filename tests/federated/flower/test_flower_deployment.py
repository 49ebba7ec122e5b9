"""A server and its boards on one machine: real processes, TLS, keys."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra federated")

from echo_processes import Process, fleet, is_running, processes, wait_until
from echo_server import PAYLOAD

from edgekit.core.errors import BadInputError, EdgekitError, ExitCode
from edgekit.federated import keys
from edgekit.federated.allow_list import read_allow_list
from edgekit.federated.flower.server import SuperLink, serve
from edgekit.federated.transport import Transport


def test_a_course_with_four_boards(tmp_path: Path) -> None:
    """Three kinds of messages to four nodes; strangers are refused and written down; no secret leaves its file."""
    bundles = fleet(tmp_path, "pi-1", "pi-2", "pi-3", "pi-4", "lost")
    keys.revoke(tmp_path / "keys", "lost")
    elsewhere = fleet(tmp_path / "elsewhere", "stranger")["stranger"]
    (elsewhere / "ca.pem").write_bytes(
        (tmp_path / "keys" / "ca.pem").read_bytes()
    )  # it knows the server, not the reverse
    access = tmp_path / "state" / "access.log"
    with processes(tmp_path) as start:
        server = start("echo_server.py", tmp_path, "0", "4")
        port = str(server.wait_for("port"))
        nodes = [
            start("echo_node.py", bundles[name], port, *(["vote"] if name == "pi-2" else []))
            for name in ("pi-1", "pi-2", "pi-3", "pi-4")
        ]
        revoked = start("echo_node.py", bundles["lost"], port)
        stranger = start("echo_node.py", elsewhere, port)
        assert speaks_plain_text_to(int(port)) == b""
        server.wait_for("done")

        # Whoever fails is missing, and no one else.
        assert [record["echoes"] for record in server.said() if "echoes" in record] == [
            [1, 2, 3, 4],
            [1, 3, 4],
            [1, 2, 3, 4],
        ]
        exchanges = [record["exchange"] for record in server.said() if "exchange" in record]
        assert_bytes_are_those_of_the_nodes(exchanges, nodes)
        assert [exchange["bytes_down"] for exchange in exchanges] == [10 * len(PAYLOAD)] * 3

        assert revoked.process.wait(90) == stranger.process.wait(90) == ExitCode.BAD_INPUT
        assert "is revoked" in revoked.errors.read_text()
        assert "is not enrolled" in stranger.errors.read_text()
        refused = [line for line in access.read_text().splitlines() if " refused " in line]
        fingerprints = {node.name: node.fingerprint for node in read_allow_list(tmp_path / "keys")}
        stranger_key = next(iter(read_allow_list(tmp_path / "elsewhere" / "keys"))).fingerprint
        assert any(line.endswith("plain text") for line in refused)
        assert any(line.endswith(f'key {fingerprints["lost"]} of "lost" is revoked') for line in refused)
        assert any(line.endswith(f"key {stranger_key} is not enrolled") for line in refused)

        # A board whose key is revoked while it takes part is out at its next call.
        keys.revoke(tmp_path / "keys", "pi-4")
        server.tell("3")
        assert server.wait_for("clients") == [1, 2, 3]
        assert nodes[3].process.wait(90) == ExitCode.BAD_INPUT

        assert_no_secret_is_told(tmp_path, [server.wait_for("pid"), *(p.process.pid for p in (server, *nodes))])

        # A server that is killed takes its SuperLink along; one that starts in its place finds the boards again.
        superlink = server.wait_for("pid")
        assert is_running(superlink)
        server.end(signal.SIGKILL)
        wait_until(lambda: not is_running(superlink), timeout_s=90)
        again = start("echo_server.py", tmp_path, port, "3")
        again.wait_for("done")
        assert [record["echoes"] for record in again.said() if "echoes" in record] == [[1, 2, 3], [1, 3], [1, 2, 3]]

        # Ctrl-C ends a board, which says goodbye, and a server with all that it started.
        assert nodes[0].end(signal.SIGINT) == 130
        again.tell("2")
        assert again.wait_for("clients") == [2, 3]
        superlink = again.wait_for("pid")
        again.end(signal.SIGINT)
        assert not is_running(superlink)
        assert not (tmp_path / "state" / "runtime.secret").exists()


def test_a_course_whose_superlink_dies_ends(tmp_path: Path) -> None:
    fleet(tmp_path)
    started: list[SuperLink] = []

    def course(transport: Transport) -> None:
        os.kill(started[0].pid, signal.SIGKILL)
        transport.clients()

    with pytest.raises(EdgekitError, match="SuperLink has ended"):
        serve(course, keys=tmp_path / "keys", state=tmp_path / "state", port=0, ready=started.append)
    assert not is_running(started[0].pid)


def test_what_a_course_raises_comes_out(tmp_path: Path) -> None:
    fleet(tmp_path)

    def course(transport: Transport) -> None:
        raise BadInputError(f"none of {len(transport.clients())} clients is here")

    with pytest.raises(BadInputError, match="none of 0"):
        serve(course, keys=tmp_path / "keys", state=tmp_path / "state", port=0)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    fleet(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInputError, match="in use"):
        serve(lambda _: None, keys=tmp_path / "keys", state=tmp_path / "state", port=taken.getsockname()[1])


def speaks_plain_text_to(port: int) -> bytes:
    """What comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"POST /v1/fleet/activate-node HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        try:
            return connection.recv(1000)
        except ConnectionResetError:
            return b""


def assert_bytes_are_those_of_the_nodes(exchanges: list[dict[str, object]], nodes: list[Process]) -> None:
    """Counted by the server as they left and came, by the nodes as they came and left. Who fails has been sent its request too."""
    for exchange in exchanges:
        seen = [record for node in nodes for record in node.said() if record["kind"] == exchange["kind"]]
        unanswered = len(PAYLOAD) * 2 if exchange["kind"] == "vote" else 0
        assert exchange["bytes_down"] == sum(record["bytes_down"] for record in seen) + unanswered
        assert exchange["bytes_up"] == sum(record["bytes_up"] for record in seen)


def assert_no_secret_is_told(folder: Path, pids: list[int]) -> None:
    """Neither on a command line nor in anything written for people. The files of keys are their owner's alone."""
    private = [path for path in folder.rglob("*") if path.suffix in {".key", ".secret"}]
    assert len(private) == 2 * 2 + 6 + 1
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in private)
    secrets = [line for path in private for line in key_lines(path.read_bytes())]
    told = [path.read_bytes() for path in folder.rglob("*") if path.suffix in {".log", ".out", ".errors"}]
    told += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids if is_running(pid)]
    assert len(told) > len(pids)
    assert not [secret for secret in secrets for text in told if secret in text]


def key_lines(content: bytes) -> list[bytes]:
    """Of a key as text its inner lines; of a random secret itself, and as hexadecimal digits."""
    if content.startswith(b"-----"):
        # The first line of a key of OpenSSH is the same for all.
        return content.splitlines()[2:-1]
    return [content, content.hex().encode()]

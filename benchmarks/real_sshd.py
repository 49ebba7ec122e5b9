"""A real sshd on loopback, run by this user, and a cable to it that can be pulled."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
START_S = 10.0


def missing() -> str:
    """What is not installed, or nothing."""
    return "" if Path(SSHD).exists() and shutil.which("ssh") else "openssh-server or openssh-client is not installed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sshd:
    port: int
    identity_file: str
    known_hosts_file: str

    def table(self, **more: object) -> dict[str, object]:
        """How `boards.toml` describes it."""
        return {
            "device": "host",
            "transport": "ssh",
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "identity_file": self.identity_file,
            "known_hosts_file": self.known_hosts_file,
        } | more


@contextmanager
def running_sshd(folder: Path, *, force_command: str = "") -> Iterator[Sshd]:
    """Accepts one new key; every session runs `force_command` where one is given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    shutil.copyfile(folder / "key.pub", folder / "authorized_keys")
    port = free_port()
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    config = folder / "sshd_config"
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host_key'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
        "PidFile none",
        "MaxStartups 100",
        "Subsystem sftp internal-sftp" if not force_command else "Subsystem sftp /usr/lib/openssh/sftp-server",
        *([f"ForceCommand {force_command}"] if force_command else []),
    ]
    config.write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd separates its privileges
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log, stdin=subprocess.DEVNULL)
    try:
        _await(port, folder / "log")
        yield Sshd(port=port, identity_file=str(folder / "key"), known_hosts_file=str(known_hosts))
    finally:
        server.terminate()
        server.wait()


class Cable:
    """Passes connections on `port` to another one, until it is cut."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._whole = True
        self._guard = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks what is connected, and lets nothing through until it is mended."""
        with self._guard:
            self._whole = False
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._ends.clear()

    def mend(self) -> None:
        with self._guard:
            self._whole = True

    def close(self) -> None:
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                with self._guard:
                    if not self._whole:
                        near.close()
                        continue
                    far = socket.create_connection(("127.0.0.1", self._to_port))
                    self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as tried:
        return int(tried.getsockname()[1])


def _await(port: int, log: Path) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"sshd does not start: {log.read_text()[-300:]}")

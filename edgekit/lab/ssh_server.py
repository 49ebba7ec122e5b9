"""An sshd of this machine's user, on 127.0.0.1, whose commands run on the emulated board."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from edgekit.lab.servers import Server, start_server
from edgekit.lab.tools import LabError, run_tool, tool

ADDRESS = "127.0.0.1"
MACHINE = "aarch64"
_SFTP_SERVER = "/usr/lib/openssh/sftp-server"  # of the board
_CLIENT_S = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SshAccess:
    """What a client needs to be let in, and to know whom it talks to."""

    port: int
    user: str
    identity_file: Path
    known_hosts_file: Path

    def answers(self) -> bool:
        """Whether programs of the board run there."""
        options = (
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self.known_hosts_file}",
            "ConnectTimeout=5",
        )
        client = [tool("ssh"), "-F", "none", "-i", str(self.identity_file), "-p", str(self.port)]
        settings = [argument for option in options for argument in ("-o", option)]
        command = [*client, *settings, f"{self.user}@{ADDRESS}", "uname", "-m"]
        try:
            return run_tool(command, doing="asking the board over ssh", timeout_s=_CLIENT_S).strip() == MACHINE
        except LabError:
            return False


def start_ssh_server(folder: Path, *, port: int, command: str) -> tuple[Server, SshAccess]:
    """Starts an sshd that runs `command`, a line of shell, for whoever has the key; keys and settings lie in `folder`.

    Raises LabError where it does not answer.
    """
    folder.mkdir(mode=0o700)
    user = pwd.getpwuid(os.getuid()).pw_name
    for name in ("host_key", "key"):
        run_tool(
            [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "edgekit-lab", "-f", folder / name],
            doing="making a key",
            timeout_s=30,
        )
    (folder / "authorized_keys").write_bytes((folder / "key.pub").read_bytes())
    host_key = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[{ADDRESS}]:{port} {host_key}")
    (folder / "sshd_config").write_text(_settings(folder, port=port, user=user, command=command))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks up what talks to strangers
    access = SshAccess(port=port, user=user, identity_file=folder / "key", known_hosts_file=folder / "known_hosts")
    server = start_server(
        "sshd",
        [tool("sshd"), "-D", "-e", "-f", folder / "sshd_config"],
        port=port,
        log=folder / "sshd.log",
        is_ready=access.answers,
    )
    return server, access


def _settings(folder: Path, *, port: int, user: str, command: str) -> str:
    settings = {
        "ListenAddress": f"{ADDRESS}:{port}",
        "HostKey": f'"{folder}/host_key"',
        "AuthorizedKeysFile": f'"{folder}/authorized_keys"',
        "AllowUsers": user,
        "AuthenticationMethods": "publickey",
        "PermitRootLogin": "prohibit-password",
        # It asks about folders above ours, which may be anybody's; ours is closed to others.
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "PrintMotd": "no",
        "Subsystem": f"sftp {_SFTP_SERVER}",
        "ForceCommand": command,
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())

"""The programs of Debian packages that the lab is made with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.core.errors import EdgekitError, ExitCode, MissingExtraError

PACKAGES = {
    "adb": "adb",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "gcc": "gcc libc6-dev",
    "mount": "mount",
    "qemu-aarch64": "qemu-user",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "unshare": "util-linux",
}
"""The programs that the lab runs, and what installs each."""
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class LabError(EdgekitError):
    """The emulated board cannot be made, or does not answer."""

    code = ExitCode.BOARD


def tool(name: str) -> str:
    """The path of a program. Raises MissingExtraError, with what to install, where it or any other one is missing."""
    missing = [name for name in PACKAGES if path_of(name) is None]
    if missing:
        packages = " ".join(dict.fromkeys(PACKAGES[name] for name in missing))
        raise MissingExtraError(
            f"the lab needs programs that are not installed: {', '.join(missing)}",
            hint=f"apt-get install --no-install-recommends {packages}",
        )
    return str(path_of(name))


def run_tool(
    arguments: Sequence[str | Path],
    *,
    doing: str,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a program to its end and returns what it prints. `environment` is added to ours. Raises LabError."""
    try:
        done = subprocess.run(  # noqa: S603 (paths of `tool`, no shell)
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{doing} took longer than {timeout_s:g} s", hint="try again on a less busy machine") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-400:] or f"exit code {done.returncode}"
        raise LabError(f"{doing} failed: {said}", hint="see docs/lab.md for what the lab needs")
    return done.stdout


def path_of(name: str) -> str | None:
    """None where it is not installed."""
    # Those that a user's PATH does not have on Debian.
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN)))

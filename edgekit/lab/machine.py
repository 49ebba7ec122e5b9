"""Whether this machine can be a lab."""

from __future__ import annotations

import platform

from edgekit.core.errors import MissingExtraError
from edgekit.lab.servers import namespace
from edgekit.lab.tools import LabError, run_tool, tool


def check_machine() -> None:
    """Raises MissingExtraError, with the reason, where programs are missing or the kernel does not let a user run the board."""
    if platform.machine() != "x86_64":
        raise MissingExtraError(
            f"the lab needs a 64-bit x86 machine, and this is {platform.machine()}",
            hint="measure on this machine as a board instead",
        )
    # The way of every command on the board: a process namespace for the server, and in it one of users with its own emulator.
    in_namespace = [*namespace(), tool("unshare"), "--user", "--map-root-user", "--mount"]
    try:
        run_tool(
            [*in_namespace, tool("mount"), "-t", "binfmt_misc", "binfmt_misc", "/tmp"],  # noqa: S108 (seen by nobody)
            doing="mounting binfmt_misc in a user namespace",
            timeout_s=30,
        )
    except LabError as error:
        raise MissingExtraError(
            f"this kernel, Linux {platform.release()}, does not let a user emulate another machine: {error.message}",
            hint="use Linux 6.7 or later; a container must allow user namespaces and mounts",
        ) from error

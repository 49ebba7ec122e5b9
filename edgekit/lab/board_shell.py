"""What a command on the board runs in: `python -I board_shell.py BOARD.json`, with the command in SSH_ORIGINAL_COMMAND.

A server starts this for each command. It makes a root file system of arm64 programs, visible to itself alone, has the kernel
run them by qemu, and becomes the board's shell: exit code, signals and streams are those of the command.
It needs nothing but the standard library, because it starts without the packages of the machine.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PLUGIN = "/run/edgekit/ekcount.so"
COUNTS = "/run/edgekit/counts.jsonl"
_UNREACHABLE = 255  # as ssh says that there is no board

# <sched.h>, <sys/mount.h>
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
# A mount in a namespace of a user may not lose any of these that the machine gave it: nosuid, nodev, noexec, noatime, nodiratime.
_KEPT = 2 | 4 | 8 | 1024 | 2048

_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
# The emulator is a program of this machine, and loaded with its libraries.
_EMULATOR_LIBRARIES = ("lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
# Executables of 64-bit Arm, as the kernel recognises them: ELF64, little-endian, ET_EXEC or ET_DYN, EM_AARCH64 (183).
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """Paths of this machine: `sysroot`, `profile`, `plugin`, `emulator`; `folders` are those that the board can write.

    `home`, and the keys of `folders`, are paths of the board.
    """

    sysroot: str
    profile: str
    plugin: str
    emulator: str
    cpu: str
    home: str
    folders: dict[str, str]


def main(description: Path) -> NoReturn:
    board = Board(**json.loads(description.read_bytes()))
    command = os.environ.get("SSH_ORIGINAL_COMMAND")
    try:
        enter_namespaces()
        build_root(board)
        os.chroot(board.sysroot)
        os.chdir(board.home)
        shell = ["/bin/sh", "-c", command] if command else ["/bin/sh", "-i"]
        os.execve(shell[0], shell, _environment(board))  # noqa: S606 (the command is what the user wants to run)
    except OSError as error:
        sys.stderr.write(f"edgekit lab: the board cannot be made: {error}\n")
        sys.exit(_UNREACHABLE)


def enter_namespaces() -> None:
    """Mounts of our own, as the root of a user namespace of our own."""
    user, group = os.getuid(), os.getgid()
    _check(_libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "namespaces of a user")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount("none", "/", flags=_MS_REC | _MS_PRIVATE)


def register_emulator(emulator: str, folder: Path) -> None:
    """Has the kernel run arm64 programs by qemu, in this user namespace only."""
    _mount("binfmt_misc", str(folder), kind="binfmt_misc")
    # F: opened now, by its path of this machine.
    (folder / "register").write_bytes(f":qemu-aarch64:M::{_MAGIC}:{_MASK}:{emulator}:F".encode())


def build_root(board: Board) -> None:
    root = Path(board.sysroot)
    _bind(root, root, read_only=True)
    for name in _EMULATOR_LIBRARIES:
        _bind(Path("/", name), root / name)
    _mount("tmpfs", str(root / "run"), kind="tmpfs")
    for name in ("binfmt_misc", "edgekit"):
        (root / "run" / name).mkdir()
    register_emulator(board.emulator, root / "run/binfmt_misc")
    plugin = root / PLUGIN.lstrip("/")
    plugin.touch()
    _bind(Path(board.plugin), plugin)
    _bind(Path("/proc"), root / "proc")
    _bind(Path(board.profile, "proc/cpuinfo"), root / "proc/cpuinfo")
    _bind(Path(board.profile, "sys"), root / "sys", read_only=True)
    _build_devices(root / "dev")
    for inside, outside in board.folders.items():
        _bind(Path(outside), root / inside.lstrip("/"))


def _build_devices(dev: Path) -> None:
    """A few: the board must not reach the disks of a machine whose root runs it."""
    _mount("tmpfs", str(dev), kind="tmpfs")
    dev.chmod(0o755)  # in a sticky folder, what others own cannot be opened to be made
    for name in _DEVICES:
        (dev / name).touch()
        _bind(Path("/dev", name), dev / name)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _bind(Path("/dev/pts"), dev / "pts")
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")


def _environment(board: Board) -> dict[str, str]:
    return {
        "EDGEKIT_COUNTS": COUNTS,
        "HOME": board.home,
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": "/opt/site",
        "QEMU_CPU": board.cpu,
        "QEMU_PLUGIN": f"file={PLUGIN},out={COUNTS}",
        "TERM": os.environ.get("TERM", "dumb"),
    }


def _bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    _mount(str(source), str(target), flags=_MS_BIND | _MS_REC)
    if read_only:
        kept = os.statvfs(target).f_flag & _KEPT
        _mount("none", str(target), flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _mount(source: str, target: str, *, kind: str = "none", flags: int = 0) -> None:
    done = _libc().mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)
    _check(done, f"mounting {source} on {target}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

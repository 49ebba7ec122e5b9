"""What lies on this machine's disk: supernets, devices, the cache, keys; and how much room there is."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path, user_config_path, user_state_path

from edgekit.core.errors import EdgekitError
from edgekit.core.records import sha256_of
from edgekit.devices.boards.board import SshBoard, list_boards
from edgekit.devices.device import list_devices
from edgekit.pipeline.doctor.finding import Finding, State
from edgekit.supernet.storage import list_supernets, open_supernet

_LEAST_ROOM_BYTES: Final = 1 << 30
_REINSTALL: Final = "pip install --force-reinstall --no-deps edgekit"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def examine_models() -> Iterator[Finding]:
    names = list_supernets()
    if not names:
        yield Finding(
            section="models",
            name="supernets",
            state=State.ABSENT,
            found="no supernet came with edgekit",
            fix=_REINSTALL,
            required=True,
        )
    for name in names:
        try:
            folder = open_supernet(name)
            damaged = [
                file for file, sha256 in folder.card["sha256"].items() if sha256_of(folder.path / file) != sha256
            ]
        except EdgekitError as error:
            yield _model(name, State.BROKEN, error.message)
        except OSError as error:
            yield _model(name, State.BROKEN, f"cannot read {error.filename}: {error.strerror}")
        else:
            if damaged:
                found = f"{', '.join(damaged)} in {folder.path} differ from what its card describes"
                yield _model(name, State.BROKEN, found)
            else:
                yield _model(name, State.OK, f"{len(folder.vocabulary)} labels, {folder.path}")
    yield _devices()


def _model(name: str, state: State, found: str) -> Finding:
    fix = _REINSTALL if state is State.BROKEN else ""
    return Finding(section="models", name=name, state=state, found=found, fix=fix, required=True)


def _devices() -> Finding:
    try:
        names = [device.name for device in list_devices()]
    except EdgekitError as error:
        return Finding(
            section="models", name="devices", state=State.BROKEN, found=error.message, fix=error.hint, required=True
        )
    return Finding(
        section="models",
        name="devices",
        state=State.OK if names else State.ABSENT,
        found=", ".join(names) or "no device came with edgekit",
        fix="" if names else _REINSTALL,
        required=True,
    )


def examine_disk() -> Iterator[Finding]:
    cache = user_cache_path("edgekit")
    for name, path in (("this folder", Path.cwd()), ("temporary files", Path(tempfile.gettempdir())), ("cache", cache)):
        present = next(parent for parent in (path, *path.parents) if parent.exists())
        free_bytes = shutil.disk_usage(present).free
        facts: dict[str, object] = {"path": str(path), "free_bytes": free_bytes}
        found = f"{_size(free_bytes)} free, {path}"
        if name == "cache":
            used = _sizes(cache)
            facts |= {"bytes": sum(used.values()), "rooms": used}
            listed = ", ".join(f"{room} {_size(size)}" for room, size in used.items())
            found = f"{_size(sum(used.values()))} used{f' ({listed})' if used else ''}; {found}"
        fix = ""
        if free_bytes < _LEAST_ROOM_BYTES:
            fix = f"free some space: builds need up to {_size(_LEAST_ROOM_BYTES)} there"
        elif not os.access(present, os.W_OK | os.X_OK):
            fix = f"nothing can be written there: work in another folder, or change the permissions of {present}"
        yield Finding(
            section="disk", name=name, state=State.NOTICE if fix else State.OK, found=found, fix=fix, facts=facts
        )


def examine_keys() -> Finding:
    """Private keys that others than their owner can read: ssh refuses them, and so does a course."""
    keys = sorted(set(_keys()))
    readable = [path for path in keys if path.stat().st_mode & _OTHERS]
    found = (
        f"others can read {', '.join(map(str, readable))}"
        if readable
        else f"{len(keys)} found, each readable by its owner alone"
    )
    fix = shlex.join(["chmod", "600", *map(str, readable)]) if readable else ""
    return Finding(
        section="disk",
        name="private keys",
        state=State.BROKEN if readable else State.OK,
        found=found,
        fix=fix,
        facts={"keys": list(map(str, keys))},
    )


def _keys() -> Iterator[Path]:
    """Those that boards are reached with, and those in edgekit's own folders."""
    try:
        named = [Path(board.identity_file) for board in list_boards() if isinstance(board, SshBoard)]
    except EdgekitError:
        named = []
    for path in (one.expanduser() for one in named if one.name):
        if path.is_file():
            yield path
    for folder in {user_config_path("edgekit"), user_state_path("edgekit")}:
        yield from (
            path for pattern in ("*.key", "key", "host_key") for path in folder.rglob(pattern) if path.is_file()
        )


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes in each folder of the cache; what is linked counts once, at its place."""
    if not folder.is_dir():
        return {}
    return {
        room.name: sum(
            path.lstat().st_size for path in (room, *room.rglob("*")) if path.is_file() and not path.is_symlink()
        )
        for room in sorted(folder.iterdir())
    }


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"

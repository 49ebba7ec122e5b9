"""Boards that can be reached: where they are, from `boards.toml` of the user's configuration and the files of `boards.d/`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from edgekit.core.data_folders import user_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.devices.device import Device, load_device

THIS_MACHINE = "local"
_PYTHON = ("python3",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """A board `name` that is said to be a `device`; `emulated` is what its owner says.

    `python` is how a program is run on it, `workspace` a folder there that edgekit may fill, `env` what its programs find in
    their environment.
    """

    transport: ClassVar[str]

    name: str
    device: str
    workspace: str
    python: tuple[str, ...] = _PYTHON
    emulated: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The same for two names of one board."""
        return self.transport


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalBoard(Board):
    """This machine."""

    transport = "local"


@dataclass(frozen=True, kw_only=True, slots=True)
class SshBoard(Board):
    """What the system's `ssh` reaches as `host`, which may be one of its own configuration."""

    transport = "ssh"

    host: str
    port: int | None = None
    user: str = ""
    identity_file: str = ""
    known_hosts_file: str = ""

    @property
    def address(self) -> str:
        return f"ssh {self.host} {self.port or 22}"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdbBoard(Board):
    """What the system's `adb` lists as `serial`. Phones as they are sold run no Python: there `benchmark_model`, TFLite's own
    program for Android at this place on this machine, is run instead."""

    transport = "adb"

    serial: str
    adb_server_port: int = 5037
    benchmark_model: str = ""

    @property
    def address(self) -> str:
        return f"adb {self.serial}"


@dataclass(frozen=True, kw_only=True, slots=True)
class QemuBoard(Board):
    """No board: programs of `sysroot` in the emulator, which counts instructions by its `plugin`."""

    transport = "qemu"

    sysroot: str
    cpu: str
    plugin: str

    @property
    def address(self) -> str:
        return f"qemu {self.workspace}"

    def __post_init__(self) -> None:
        if not self.emulated:
            raise ValueError("emulated must be true: qemu is not a real board")


_KINDS: tuple[type[Board], ...] = (LocalBoard, SshBoard, AdbBoard, QemuBoard)


def load_board(name: str) -> Board:
    """Raises UsageError for an unknown name, BadInputError for a file that describes no boards."""
    boards = {board.name: board for board in list_boards()}
    if name not in boards:
        hint = did_you_mean(name, boards)
        raise UsageError(f'no board is called "{name}"', hint=f"{hint}; boards are described in {boards_file()}")
    return boards[name]


def load_board_of(name: str, device: Device) -> Board:
    """Raises UsageError for an unknown name and for a board of another device, BadInputError as `load_board` does."""
    board = load_board(name)
    if load_device(board.device).name != device.name:
        raise UsageError(
            f"{name} is a {board.device}, not a {device.name}",
            hint=f"build for --target {board.device}, or name another board",
        )
    return board


def list_boards() -> tuple[Board, ...]:
    """By name; this machine is always one of them. Raises BadInputError for a file that describes no boards."""
    found: dict[str, Board] = {}
    for path in [boards_file(), *sorted(user_folder("boards.d").glob("*.toml"))]:
        for board in _read(path):
            if board.name in found:
                raise BadInputError(f'{path} describes the board "{board.name}" a second time', hint="rename one")
            found[board.name] = board
    if THIS_MACHINE not in found:
        workspace = str(Path.home() / ".cache" / "edgekit" / "board")
        found[THIS_MACHINE] = LocalBoard(name=THIS_MACHINE, device="host", workspace=workspace, python=_own_python())
    return tuple(found[name] for name in sorted(found))


def boards_file() -> Path:
    return user_folder("boards.toml")


def _own_python() -> tuple[str, ...]:
    import sys

    return (sys.executable,)


def _read(path: Path) -> Iterator[Board]:
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint="make it readable") from error
    except ValueError as error:
        raise BadInputError(f"{path} is not TOML: {error}", hint="see docs/boards.md") from error
    tables = record.get("boards", {})
    if set(record) - {"boards"} or not isinstance(tables, dict):
        raise BadInputError(f"{path} may hold only tables [boards.NAME]", hint="see docs/boards.md")
    for name, table in tables.items():
        try:
            yield _board(name, table)
        except (TypeError, ValueError) as error:
            raise BadInputError(f"{path}, board {name}: {error}", hint="see docs/boards.md for the keys") from error


def _board(name: str, table: Mapping[str, Any]) -> Board:
    if not isinstance(table, dict):
        raise TypeError("expected a table")
    kinds = {kind.transport: kind for kind in _KINDS}
    given = dict(table)
    transport = given.pop("transport", None)
    if transport not in kinds:
        raise ValueError(f"transport is {transport!r}, expected one of {', '.join(kinds)}")
    kind = kinds[transport]
    known = {one.name: one for one in fields(kind) if one.name != "name"}
    for key, value in given.items():
        if key not in known:
            raise ValueError(f'unknown key "{key}"; {did_you_mean(key, known)}')
        _check(key, value)
    absent = [
        key
        for key, one in known.items()
        if key not in given and one.default is MISSING and one.default_factory is MISSING
    ]
    if absent:
        raise ValueError(f"{' and '.join(absent)} is missing")
    if "python" in given:
        given["python"] = tuple(given["python"])
    return kind(name=name, **given)


def _check(key: str, value: object) -> None:
    strings = isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)
    variables = isinstance(value, dict) and all(isinstance(part, str) for part in value.values())
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    fits, expected = {
        "python": (strings, "a list of strings"),
        "env": (variables, "a table of strings"),
        "emulated": (isinstance(value, bool), "true or false"),
        "port": (is_whole, "a whole number"),
        "adb_server_port": (is_whole, "a whole number"),
    }.get(key, (isinstance(value, str) and bool(value), "a text"))
    if not fits:
        raise ValueError(f"{key} = {value!r} must be {expected}")
    if key == "workspace" and not str(value).startswith("/"):
        raise ValueError(f"{key} = {value!r} must be an absolute path, starting with /")
    if key in ("host", "user", "serial") and str(value).startswith("-"):
        raise ValueError(f"{key} = {value!r} must not start with a hyphen")

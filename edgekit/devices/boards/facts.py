"""What a board tells of itself, and whether it is the board that it is said to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from edgekit.core.errors import BoardError
from edgekit.devices.boards.board import Board
from edgekit.devices.device import Device

# Of the main ID register, implementer 0x41 (Arm): Arm's Technical Reference Manual of each core.
_ARM_CORES: Final[Mapping[str, str]] = {
    "0xd03": "cortex-a53",
    "0xd04": "cortex-a35",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd09": "cortex-a73",
    "0xd0a": "cortex-a75",
    "0xd0b": "cortex-a76",
    "0xd0d": "cortex-a77",
    "0xd41": "cortex-a78",
}
_ARM: Final = "0x41"


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardState:
    """Governor and clock of each core, hottest zone, load, and the firmware's throttling bits where it tells them."""

    governors: tuple[str, ...]
    clocks_mhz: tuple[float, ...]
    temperature_c: float | None
    throttled: int | None
    load: float | None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> BoardState:
        return cls(
            governors=tuple(record["governors"]),
            clocks_mhz=tuple(map(float, record["clocks_mhz"])),
            temperature_c=record["temperature_c"],
            throttled=record["throttled"],
            load=float(record["load"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardFacts:
    """`cpu_parts` are implementer and part of each core; `free_bytes` is the room in the board's workspace."""

    machine: str
    kernel: str
    model: str
    cores: int
    cpu_parts: tuple[tuple[str, str], ...]
    features: tuple[str, ...]
    ram_bytes: int
    free_bytes: int
    python: str
    runtime: str
    signs_of_emulation: tuple[str, ...]
    state: BoardState

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> BoardFacts:
        """Raises KeyError, TypeError or ValueError for what no board of ours tells."""
        return cls(
            machine=str(record["machine"]),
            kernel=str(record["kernel"]),
            model=str(record["model"]),
            cores=int(record["cores"]),
            ram_bytes=int(record["ram_bytes"]),
            free_bytes=int(record["free_bytes"]),
            python=str(record["python"]),
            runtime=str(record["runtime"]),
            cpu_parts=tuple((str(implementer), str(part)) for implementer, part in record["cpu_parts"]),
            features=tuple(record["features"]),
            signs_of_emulation=tuple(record["signs_of_emulation"]),
            state=BoardState.from_json(record["state"]),
        )

    @property
    def cpus(self) -> tuple[str, ...]:
        """The kinds of cores, by the names that compilers give them where they are known."""
        known = (_ARM_CORES.get(part, part) if maker == _ARM else f"{maker}/{part}" for maker, part in self.cpu_parts)
        return tuple(dict.fromkeys(known))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "cpus": list(self.cpus)}


def check_board(board: Board, facts: BoardFacts, device: Device) -> None:
    """Raises BoardError for an emulated board that is said to be real, and for another processor than the device's."""
    check_real(board, facts)
    check_architecture(board, facts, device)
    named = set(facts.cpus) & set(_ARM_CORES.values())
    if named and device.mcpu in _ARM_CORES.values() and device.mcpu not in named:
        raise BoardError(
            f"{board.name} has {' and '.join(sorted(named))}, {device.name} has {device.mcpu}",
            hint="correct the device in the board's description",
        )


def check_real(board: Board, facts: BoardFacts) -> None:
    """Raises BoardError for an emulated board that is said to be real, and the reverse."""
    if board.emulated and not facts.signs_of_emulation:
        raise BoardError(
            f"{board.name} is described as emulated, but shows no sign of it",
            hint="remove emulated from its description",
        )
    if facts.signs_of_emulation and not board.emulated:
        raise BoardError(
            f"{board.name} is described as a real {board.device}, but {'; '.join(facts.signs_of_emulation)}",
            hint="an emulated time is not a latency: set emulated = true in the board's description",
        )


def check_architecture(board: Board, facts: BoardFacts, device: Device) -> None:
    """Raises BoardError where it does not run the device's programs."""
    architecture = device.triple.partition("-")[0]
    if facts.machine != architecture:
        raise BoardError(
            f"{board.name} runs {facts.machine} programs, {device.name} runs {architecture}",
            hint="correct the device in the board's description, or install a 64-bit system on the board",
        )

"""The lab, and the boards of the user: what each answers, asked all at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from typing import Any, Final

from edgekit.core.data_folders import user_folder
from edgekit.core.errors import EdgekitError
from edgekit.devices.boards.board import THIS_MACHINE, Board, LocalBoard, boards_file, list_boards
from edgekit.devices.boards.facts import BoardFacts, check_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.device import Device, load_device
from edgekit.lab.lab import read_lab
from edgekit.lab.machine import check_machine
from edgekit.pipeline.doctor.finding import Finding, State

ANSWER_S: Final = 20.0
"""How long a board may take to answer."""

# Of the bits of `vcgencmd get_throttled`: what holds now, not what happened since the start.
_NOW: Final = 0xF


def examine_lab() -> Finding:
    try:
        lab = read_lab()
        if lab is not None and lab.whole:
            found = f"up as {lab.device}: boards {', '.join(lab.boards)}"
            return Finding(section="boards", name="lab", state=State.OK, found=found, facts=lab.to_json())
        check_machine()
    except EdgekitError as error:
        return Finding(section="boards", name="lab", state=State.ABSENT, found=error.message, fix=error.hint)
    if lab is not None:
        ended = ", ".join(server.name for server in lab.servers if not server.alive) or "its boards' file"
        found = f"set up as {lab.device}, but {ended} is gone"
        return Finding(
            section="boards", name="lab", state=State.BROKEN, found=found, fix=f"edgekit lab up --device {lab.device}"
        )
    return Finding(
        section="boards",
        name="lab",
        state=State.ABSENT,
        found="this machine can emulate a board; none is up",
        fix="edgekit lab up --device rpi4",
    )


def examine_boards(pool: Executor, *, ask: bool) -> Iterator[Finding]:
    """Of all boards that are described. A board that is asked answers within ANSWER_S or counts as silent."""
    try:
        boards = [board for board in list_boards() if not _is_implied(board)]
    except EdgekitError as error:
        yield Finding(section="boards", name="boards.toml", state=State.BROKEN, found=error.message, fix=error.hint)
        return
    if not boards:
        yield Finding(
            section="boards",
            name="boards.toml",
            state=State.ABSENT,
            found="no board is described",
            fix=f"describe one in {boards_file()}: see docs/boards.md",
        )
    if not ask:
        yield from (_untried(board) for board in boards)
        return
    asked = [(board, pool.submit(_facts, board)) for board in boards]
    yield from (_answer(board, future) for board, future in asked)


def _is_implied(board: Board) -> bool:
    """This machine, where nobody described it otherwise."""
    return board.name == THIS_MACHINE and isinstance(board, LocalBoard) and board.device == "host"


def _untried(board: Board) -> Finding:
    return Finding(
        section="boards",
        name=board.name,
        state=State.UNTRIED,
        found=f"{_description(board)}; not asked",
        fix="edgekit doctor --boards",
        facts={"address": board.address, "device": board.device},
    )


def _facts(board: Board) -> BoardFacts:
    """Asked once: whoever examines a board can do so again."""
    with open_board(board, tries=1) as session:
        return session.facts()


def _answer(board: Board, future: Future[BoardFacts]) -> Finding:
    try:
        facts = future.result(timeout=ANSWER_S)
        device = load_device(board.device)
        check_board(board, facts, device)
    except TimeoutError:
        return _broken(board, f"did not answer within {ANSWER_S:g} s", "check that it is switched on, and ask again")
    except EdgekitError as error:
        return _broken(board, error.message, error.hint)
    found, fix = _state(board, facts, device)
    return Finding(
        section="boards",
        name=board.name,
        state=State.NOTICE if fix else State.OK,
        found=f"{_description(board)}; answers: {found}; {_calibrated(device)}",
        fix=fix,
        facts={"address": board.address, "device": board.device, **facts.to_json(), "calibrated": _calibrated(device)},
    )


def _broken(board: Board, reason: str, fix: str) -> Finding:
    facts: dict[str, Any] = {"address": board.address, "device": board.device}
    found = f"{_description(board)}; {reason}"
    return Finding(section="boards", name=board.name, state=State.BROKEN, found=found, fix=fix, facts=facts)


def _state(board: Board, facts: BoardFacts, device: Device) -> tuple[str, str]:
    """What a measurement there depends on, and what to do for it."""
    state, wanted = facts.state, device.protocol.governor
    governors = sorted(set(state.governors))
    told = [
        f"Linux {facts.kernel}",
        f"Python {facts.python}",
        facts.runtime or "no runtime",
        f"governor {'/'.join(governors)}" if governors else "governor not told",
        *([] if state.temperature_c is None else [f"{state.temperature_c:.0f} degrees"]),
        *([] if state.throttled is None else [f"throttled {state.throttled:#x}"]),
    ]
    if not facts.runtime:
        fix = f"on the board: {board.python[0]} -m pip install ai-edge-litert"
    elif state.throttled is not None and state.throttled & _NOW:
        fix = "it throttles now: let it cool, and give it a fan and a stable power supply"
    elif governors and governors != [wanted] and not board.emulated:
        fix = f"on the board: echo {wanted} | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    else:
        fix = ""
    return ", ".join(told), fix


def _calibrated(device: Device) -> str:
    path = user_folder("devices") / device.name / f"{device.default_runtime}.json"
    if device.folder != path.parent or not path.is_file():
        return f"latencies of {device.name} are predicted from published figures, not from this board"
    day = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    return f"{device.name} was calibrated on {day:%Y-%m-%d}"


def _description(board: Board) -> str:
    emulated = ", emulated" if board.emulated else ""
    return f"{board.device}{emulated}, {board.address}"

"""Tunes the kernels of a compiled network on a board of its device, within so many minutes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import UsageError
from edgekit.core.quantity import Evidence
from edgekit.devices.boards.board import Board, load_board
from edgekit.devices.boards.facts import check_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.device import load_device
from edgekit.devices.target import Target
from edgekit.exporters.conversion import converting

if TYPE_CHECKING:
    from edgekit.exporters.tvm.tile_database import TileDatabase

_HOST = "host"


def check_tuning(target: Target, minutes: float, board: str | None) -> Board:
    """The board to tune on. Raises UsageError where the target has no kernels to tune, or there is no board for it."""
    if target.runtime != "tvm":
        raise UsageError(
            f"{target} has no kernels to tune: {target.runtime} brings its own",
            hint=f"ask for {target.device.name}:tvm",
        )
    if not (math.isfinite(minutes) and minutes > 0):
        raise UsageError(f"{minutes:g} minutes are no time to tune in", hint="give a positive number")
    if board is None and target.device.name != _HOST:
        raise UsageError(
            f"nothing times kernels of {target.device.name} without a board",
            hint="add --board BOARD, a real one, or an emulated one whose instructions are counted",
        )
    found = load_board(board or "local")
    if load_device(found.device).name != target.device.name:
        raise UsageError(
            f"{found.name} is a {found.device}, not a {target.device.name}", hint="name a board of that device"
        )
    return found


def tune_library(
    library: Path,
    target: Target,
    board: Board,
    *,
    minutes: float,
    progress: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> TileDatabase:
    """Tries tiles for the kernels of a .so on the board; what is found goes into the user's database of the device, turn by turn,
    so that another call goes on from there.

    Raises BoardError, BadInputError, ConversionError.
    """
    from edgekit.exporters.tvm.tile_database import TileDatabase, user_database
    from edgekit.exporters.tvm.tuning import Bench, tune
    from edgekit.exporters.tvm_exporter import kernels_of

    place, ends = user_database(target.device), clock() + 60 * minutes
    workloads = [kernel.workload for kernel in kernels_of(library)]
    with open_board(board) as session:
        check_board(board, session.facts(), target.device)
        bench = Bench(
            device=target.device,
            costs=lambda made, functions: session.kernels(made, functions, threads=target.threads),
            evidence=Evidence.EMULATED if board.emulated else Evidence.MEASURED,
            source=f"{board.name}, 1 thread" if board.emulated else f"{board.name}, {target.threads} threads",
        )
        with converting("a kernel", to="TVM"):
            return tune(
                workloads,
                TileDatabase.of(target.device),
                bench,
                late=lambda: clock() >= ends,
                keep=lambda database: database.write(place),
                progress=progress,
            )

"""Tunes the kernels of a compiled network on a board of its device, within so many minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.quantity import Evidence
from edgekit.devices.boards.facts import check_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.target import Target
from edgekit.exporters.conversion import converting
from edgekit.pipeline.plan import Tuning

if TYPE_CHECKING:
    from edgekit.exporters.tvm.tile_database import TileDatabase


def tune_library(
    library: Path,
    target: Target,
    tuning: Tuning,
    *,
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

    place, ends = user_database(target.device), clock() + 60 * tuning.minutes
    board, workloads = tuning.board, [kernel.workload for kernel in kernels_of(library)]
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
                TileDatabase.read(place),
                bench,
                late=lambda: clock() >= ends,
                keep=lambda database: database.write(place),
                progress=progress,
            )

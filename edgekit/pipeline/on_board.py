"""What a board says of a model file: measured on a real one, counted on an emulated one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.core.errors import BadInputError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import read_json, sha256_of, whole_folder, write_bytes, write_json
from edgekit.devices.boards.board import Board, load_board
from edgekit.devices.boards.facts import BoardFacts, check_board
from edgekit.devices.boards.session import BoardSession, open_board
from edgekit.devices.device import Protocol, load_device
from edgekit.devices.target import Target
from edgekit.exporters.exporter import MODEL_FILES
from edgekit.pipeline.result import REPORT_SCHEMA, Figure
from edgekit.report.card import with_figures
from edgekit.report.pages import PAGE, page_of

LATENCY, _PREDICTED, _RATIO, _PROCESS, _EXECUTED = (
    "latency",
    "latency predicted",
    "measured / predicted",
    "process RAM",
    "instructions, ",
)
INSTRUCTIONS = f"{_EXECUTED}total"
REPORT, _CARD = "report.json", "card.md"
_SECONDS = 20.0


def probe(name: str) -> BoardFacts:
    """Raises UsageError for an unknown board, BoardError where it does not answer or is not what it is said to be."""
    board = load_board(name)
    device = load_device(board.device)
    with open_board(board) as session:
        facts = session.facts()
    check_board(board, facts, device)
    return facts


def figures_on_board(board: Board, path: Path, predicted: Quantity | None, *, threads: int) -> tuple[Figure, ...]:
    """The latency with the prediction beside it and the ratio, or what an emulated board executes beside the prediction; without
    it where there is none.

    Raises BoardError where the board does not answer, is in use, or is not what it is said to be, UnstableError for times that
    cannot be trusted.
    """
    with checked_board(board) as session:
        return figures_in_session(session, path, predicted, threads=threads)


@contextmanager
def checked_board(board: Board) -> Iterator[BoardSession]:
    """Raises BoardError where it does not answer, is in use, or is not what it is said to be."""
    with open_board(board) as session:
        check_board(board, session.facts(), load_device(board.device))
        yield session


def figures_in_session(
    session: BoardSession, path: Path, predicted: Quantity | None, *, threads: int
) -> tuple[Figure, ...]:
    """As `figures_on_board`."""
    if session.board.emulated:
        return _counted(session, path, predicted)
    protocol = load_device(session.board.device).protocol
    return _timed(session, path, predicted, replace(protocol, threads=threads))


def in_place_of_latency(figures: Sequence[Figure], of_board: Sequence[Figure]) -> tuple[Figure, ...]:
    """What a board says in the place of what was predicted."""
    return tuple(new for old in figures for new in (of_board if old.name == LATENCY else (old,)))


def _timed(session: BoardSession, path: Path, predicted: Quantity | None, protocol: Protocol) -> tuple[Figure, ...]:
    run = session.measure(path, protocol, seconds=_SECONDS)
    name = session.board.name
    measured = run.latency(name)
    return (
        Figure(name=LATENCY, quantity=measured),
        *([] if predicted is None else _beside(measured, predicted, name)),
        *([] if run.peak_rss_bytes is None else [_memory(run.peak_rss_bytes, name)]),
    )


def _memory(peak_rss_bytes: int, board: str) -> Figure:
    quantity = Quantity(
        value=peak_rss_bytes,
        unit="bytes",
        evidence=Evidence.MEASURED,
        source=f"largest resident set of the whole process on {board}, Python among it",
    )
    return Figure(name=_PROCESS, quantity=quantity)


def _beside(measured: Quantity, predicted: Quantity, board: str) -> tuple[Figure, Figure]:
    ratio = Quantity(
        value=measured.value / predicted.value,
        unit="ratio",
        evidence=Evidence.MEASURED,
        source=f"latency measured on {board} over latency predicted",
    )
    return Figure(name=_PREDICTED, quantity=predicted), Figure(name=_RATIO, quantity=ratio)


def _counted(session: BoardSession, path: Path, predicted: Quantity | None) -> tuple[Figure, ...]:
    run = session.count(path)
    counts = run.instructions(session.board.name)
    return (
        *([] if predicted is None else [Figure(name=LATENCY, quantity=predicted)]),
        *(Figure(name=f"{_EXECUTED}{kind}", quantity=quantity) for kind, quantity in counts.items()),
    )


def holds_variants(path: Path) -> bool:
    """Whether it is the file of a build of several networks that has them all."""
    report = path.parent / REPORT
    is_whole = path.name in MODEL_FILES and report.is_file()
    return is_whole and "variants" in read_json(report, schema_version=REPORT_SCHEMA)


def record_in_build(folder: Path, figures: Sequence[Figure], target: Target) -> tuple[str, ...]:
    """Puts figures in the place of a build's latency, in its report and its card, where it was built for this target; says so
    where it was not. Raises BadInputError where it is no build."""
    report = read_json(folder / REPORT, schema_version=REPORT_SCHEMA)
    try:
        built_for, before = report["plan"]["target"], {old["name"]: old for old in report["figures"]}
        hashes = dict(report["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{folder / REPORT} lacks {error}", hint="build the folder again") from error
    if built_for != str(target):
        return (f"{folder} was built for {built_for}: the latency in its report is left as it was",)
    new = [{"name": figure.name, **figure.quantity.to_json()} for figure in figures]
    kept: list[Mapping[str, Any]] = []
    for name, old in before.items():
        if name == LATENCY:
            kept += new
        elif name not in (_PREDICTED, _RATIO, _PROCESS) and not name.startswith(_EXECUTED):
            kept.append(old)
    with whole_folder(folder, overwrite=True, marker=REPORT) as working:
        shutil.copytree(folder, working, dirs_exist_ok=True)
        card = with_figures((folder / _CARD).read_text(encoding="utf-8"), list(before.values()), kept)
        write_bytes(working / _CARD, card.encode())
        told = report | {"figures": kept}
        if PAGE in hashes:  # else an older edgekit wrote the folder
            write_bytes(working / PAGE, page_of(told).encode())
            hashes[PAGE] = sha256_of(working / PAGE)
        hashes[_CARD] = sha256_of(working / _CARD)
        write_json(working / REPORT, told | {"sha256": hashes})
    return ()

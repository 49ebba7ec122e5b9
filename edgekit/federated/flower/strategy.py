"""A course as Flower's strategy, and the ServerApp that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeAlias

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Result, Strategy

from edgekit.federated.flower.grid_transport import Exchange, GridTransport
from edgekit.federated.transport import Transport

Course: TypeAlias = Callable[[Transport], None]
"""Runs all its rounds over a transport, and keeps what it learns itself."""


def _not_in_turn(*_: object, **__: object) -> NoReturn:
    raise NotImplementedError("a course sends its own messages, in its own order")


class CourseStrategy(Strategy):
    """Flower's strategies train and evaluate in turn, by one message each; a course has kinds of messages and an order of its own.

    So `start` hands the grid to the course, and the steps of Flower's template, which are never reached, refuse to be called.
    """

    configure_train = aggregate_train = configure_evaluate = aggregate_evaluate = _not_in_turn

    def __init__(self, course: Course, *, report: Callable[[Exchange], None] = lambda _: None) -> None:
        self._course = course
        self._report = report

    def start(self, grid: Grid, *_: object, **__: object) -> Result:
        """Runs the whole course. Its rounds, its time limits and its first network are its own: Flower's are not looked at."""
        self._course(GridTransport(grid, report=self._report))
        return Result()

    def summary(self) -> None:
        """A course tells of itself."""


def server_app(course: Course, *, report: Callable[[Exchange], None] = lambda _: None) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _context: Context) -> None:
        CourseStrategy(course, report=report).start(grid)

    return app

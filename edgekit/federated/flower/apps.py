"""Our two ends as Flower's apps: a course becomes a strategy in a ServerApp, what answers requests becomes a ClientApp."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn, TypeAlias

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Result, Strategy

from edgekit.core.errors import BadInputError
from edgekit.federated.flower.grid_transport import Exchange, GridTransport
from edgekit.federated.flower.messages import KIND_OF, content_of, payload_of
from edgekit.federated.transport import Kind, Transport

Course: TypeAlias = Callable[[Transport], None]
"""Runs all its rounds over a transport, and keeps what it learns itself."""

Answer: TypeAlias = Callable[[Kind, bytes], bytes]


class CourseStrategy(Strategy):
    """Flower's strategies train and evaluate in turn, each by one message; a course has its own kinds of messages and their own order.

    So `start` hands the grid to the course, and the template's four steps, which it never reaches, refuse to be called.
    """

    def __init__(self, course: Course, *, report: Callable[[Exchange], None] = lambda _: None) -> None:
        self._course = course
        self._report = report

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,  # noqa: ARG002
        num_rounds: int = 3,  # noqa: ARG002
        timeout: float = 3600,  # noqa: ARG002
        train_config: ConfigRecord | None = None,  # noqa: ARG002
        evaluate_config: ConfigRecord | None = None,  # noqa: ARG002
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,  # noqa: ARG002
    ) -> Result:
        """Runs the whole course. Rounds, time limits and the first network are the course's own."""
        self._course(GridTransport(grid, report=self._report))
        return Result()

    def summary(self) -> None:
        """A course tells of itself."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        _not_in_turn()

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        _not_in_turn()

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        _not_in_turn()

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        _not_in_turn()


def server_app(course: Course, *, report: Callable[[Exchange], None] = lambda _: None) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _context: Context) -> None:
        CourseStrategy(course, report=report).start(grid, ArrayRecord())

    return app


def client_app(answer: Answer) -> ClientApp:
    """Answers every kind of request. What `answer` raises is the caller's to turn into an error reply."""
    app = ClientApp()

    def reply(message: Message, _context: Context) -> Message:
        payload = payload_of(message)
        if payload is None:
            raise BadInputError(f"a message of type {message.metadata.message_type} carries no request")
        return Message(content_of(answer(KIND_OF[message.metadata.message_type], payload)), reply_to=message)

    for message_type in KIND_OF:
        category, _, action = message_type.partition(".")
        register = app.train if category == "train" else app.query
        (register(action) if action else register())(reply)
    return app


def _not_in_turn() -> NoReturn:
    raise NotImplementedError("a course sends its own messages")

"""The pytest plug-in: the fixtures `board` and `build`. Heavy libraries are imported where a test asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgekit.pipeline.result import BuildResult
    from edgekit.testing.board_under_test import BoardUnderTest

OPTION = "--edgekit-board"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edgekit", "hardware in the loop")
    group.addoption(
        OPTION,
        metavar="NAME",
        help="run hardware tests on this board, one of `edgekit devices boards`; without it they are skipped",
    )
    group.addoption(
        "--edgekit-wait",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="wait so long for a board that is in use (default: 600)",
    )


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> Iterator[BoardUnderTest]:
    """The board of `--edgekit-board`, checked and this run's alone until the end; a test that asks for it is skipped where none
    is named."""
    name = request.config.getoption(OPTION)
    if not name:
        pytest.skip(f"no board: name one with {OPTION}")
    from edgekit.devices.boards.board import load_board
    from edgekit.devices.boards.facts import check_board
    from edgekit.devices.boards.session import open_board
    from edgekit.devices.device import load_device
    from edgekit.testing.board_under_test import BoardUnderTest

    described = load_board(name)
    device = load_device(described.device)
    with open_board(described, wait_s=request.config.getoption("--edgekit-wait")) as session:
        facts = session.facts()
        check_board(described, facts, device)
        yield BoardUnderTest(session=session, device=device, facts=facts)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., BuildResult]:
    """`edgekit.build` into a temporary folder, once a session for the same arguments."""
    made: dict[str, BuildResult] = {}

    def built(**arguments: Any) -> BuildResult:
        from edgekit.pipeline.build import build as run

        key = repr(sorted(arguments.items()))
        if key not in made:
            made[key] = run(**arguments, output=tmp_path_factory.mktemp("build") / "out")
        return made[key]

    return built

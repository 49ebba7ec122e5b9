"""A course with clients on other machines, as `fed.toml` describes it."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.federated.course import Course
from edgekit.federated.course_folder import CourseResult, write_course
from edgekit.federated.datasets import read_split, samples_of, server_pictures
from edgekit.federated.privacy import require_accountant
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import judge_of
from edgekit.federated.simulator import one_thread
from edgekit.federated.start import start
from edgekit.federated.transport import Transport

WAIT_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """`keys` is the folder of `edgekit federated keys init`; `clients` so many must have called before the course begins;
    `test` are labelled pictures to judge on, `public` such to prune on, if there are any."""

    keys: Path
    output: Path
    task: str
    model: str = "signs43"
    genotype: str | None = None
    host: str = "127.0.0.1"
    port: int = 8443
    clients: int = 1
    test: Path | None = None
    public: Path | None = None
    course: Settings = field(default_factory=Settings)


def read_config(path: Path) -> ServerConfig:
    """Paths are relative to the file. Raises BadInputError where it cannot be read, UsageError for what it should not hold."""
    try:
        record = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInputError(
            f"cannot read {path}: {error.strerror}", hint="see docs/federated.md for its form"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not TOML: {error}", hint="see docs/federated.md for its form") from error
    course = record.pop("course", {})
    if not isinstance(course, dict):
        raise UsageError(f"{path}: course is not a table", hint="write [course], and its settings below it")
    values = _checked(path, record, ServerConfig) | {"course": Settings(**_checked(path, course, Settings))}
    missing = [name for name in ("keys", "output", "task") if name not in values]
    if missing:
        raise UsageError(f"{path} lacks {' and '.join(missing)}", hint="see docs/federated.md for its form")
    for name in ("keys", "output", "test", "public"):
        if values.get(name) is not None:
            values[name] = path.parent / values[name]
    return ServerConfig(**values)


def serve_course(
    config: ServerConfig,
    *,
    ready: Callable[[str], None] = lambda _address: None,
    progress: Callable[[str], None] = lambda _line: None,
) -> CourseResult:
    """Runs the course to its end, from the last full round where it was broken off. `ready` is told where clients may call.

    Raises UsageError, BadInputError, BoardError and MissingExtraError.
    """
    from edgekit.federated.allow_list import read_allow_list
    from edgekit.federated.flower.server import SuperLink, serve
    from edgekit.federated.keys import ServerKeys

    ServerKeys(folder=config.keys).check()
    if config.course.noise_multiplier:
        require_accountant()
    results: list[CourseResult] = []
    with one_thread():
        progress("start")
        begin = start(model=config.model, task=config.task, genotype=config.genotype)
        judge = None

        def names() -> dict[int, str]:
            return {node.number: node.name for node in read_allow_list(config.keys).nodes}

        if config.test is not None:
            size, vocabulary = begin.input_shape[1], begin.vocabulary
            test = read_split(config.test, "test", size=size, vocabulary=vocabulary, indices=begin.indices)
            judge = judge_of(samples_of(test))
        pictures = server_pictures(config.public, begin)
        course = Course.of(begin, config.course, pictures=pictures, judge=judge, folder=config.output, names=names)

        def run(transport: Transport) -> None:
            progress(f"waiting for {config.clients} clients")
            while len(transport.clients()) < config.clients:
                time.sleep(WAIT_POLL_S)
            state = course.run(transport, progress)
            results.append(write_course(config.output, begin, config.course, state))

        def listening(link: SuperLink) -> None:
            ready(f"{config.host}:{link.ports.fleet}")

        serve(
            run, keys=config.keys, state=config.output / "server", host=config.host, port=config.port, ready=listening
        )
    return results[0]


def _checked(path: Path, record: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Known keys of the right types alone."""
    kinds = {one.name: str(one.type) for one in fields(kind)}
    for name, value in record.items():
        if name not in kinds:
            raise UsageError(
                f"{path}: unknown key {name}", hint=did_you_mean(name, kinds) or f"it takes {', '.join(kinds)}"
            )
        expected: tuple[type, ...] = (str,)
        if kinds[name] == "bool":
            expected = (bool,)
        elif kinds[name] == "int":
            expected = (int,)
        elif kinds[name] == "float":
            expected = (int, float)
        if (isinstance(value, bool) and kinds[name] != "bool") or not isinstance(value, expected):
            raise UsageError(f"{path}: {name} is {value!r}", hint=f"expected {kinds[name].replace('Path', 'a path')}")
    return dict(record)

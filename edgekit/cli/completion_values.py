"""What a shell may offer for an option or an argument: names that are known on this machine, read in hundredths of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

import click
from click.shell_completion import CompletionItem

from edgekit.cli.help import walk
from edgekit.core.errors import EdgekitError

Values = Callable[[click.Context, str], Iterable[str]]


def offer_values(group: click.Group) -> None:
    """Gives the parameters below `group` the values of `_OF_OPTIONS` and `_OF_ARGUMENTS`."""
    for path, command in walk(group):
        for parameter in command.params:
            values = _values(parameter, path)
            if values is not None:
                parameter.shell_complete = partial(_items, values)  # type: ignore[method-assign]


def _values(parameter: click.Parameter, path: tuple[str, ...]) -> Values | None:
    if isinstance(parameter, click.Argument):
        return _OF_ARGUMENTS.get((*path, parameter.name or ""))
    return next((_OF_OPTIONS[flag] for flag in parameter.opts if flag in _OF_OPTIONS), None)


def _items(values: Values, context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    offered: list[str] = []
    # A file that cannot be read offers nothing: whoever presses the tab key gets no error there.
    with suppress(EdgekitError, OSError, ValueError):
        offered = [value for value in values(context, incomplete) if value.startswith(incomplete)]
    return [CompletionItem(value) for value in offered if "\n" not in value]


def _devices(_context: click.Context, _incomplete: str) -> Iterator[str]:
    from edgekit.devices.device import list_devices

    yield from (device.name for device in list_devices())


def _targets(context: click.Context, incomplete: str) -> Iterator[str]:
    """After a colon, the runtimes and precisions of that device."""
    from edgekit.devices.device import load_device

    name, colon, _ = incomplete.partition(":")
    if not colon:
        yield from _devices(context, incomplete)
        return
    for runtime in load_device(name).runtimes:
        yield f"{name}:{runtime.name}"
        yield from (f"{name}:{runtime.name}-{precision}" for precision in runtime.precisions)


def _boards(_context: click.Context, _incomplete: str) -> Iterator[str]:
    from edgekit.devices.boards.board import list_boards

    yield from (board.name for board in list_boards())


def _models(_context: click.Context, _incomplete: str) -> Iterator[str]:
    from edgekit.supernet.storage import list_supernets

    yield from list_supernets()


def _passes(_context: click.Context, _incomplete: str) -> Iterator[str]:
    from edgekit.passes.registry import pass_ids

    yield from pass_ids()


def _runtimes(_context: click.Context, _incomplete: str) -> Iterator[str]:
    from edgekit.devices.runtimes import BESIDE_TFLITE, REFERENCE

    yield from ("auto", REFERENCE, *BESIDE_TFLITE)


def _terms(context: click.Context, incomplete: str) -> Iterator[str]:
    """The labels of the command's supernet and its attributes, after what stands before the last comma."""
    from edgekit.supernet.storage import open_supernet

    before, comma, last = incomplete.rpartition(",")
    prefix = before + comma + last[: len(last) - len(last.lstrip())]
    vocabulary = open_supernet(context.params.get("model") or "signs43").vocabulary
    names = [label.name for label in vocabulary.labels]
    attributes = sorted({f"{key}={value}" for label in vocabulary.labels for key, value in label.attributes.items()})
    yield from (prefix + term for term in (*names, *attributes))


_OF_OPTIONS: Final[dict[str, Values]] = {
    "--board": _boards,
    "--device": _devices,
    "--like": _devices,
    "--model": _models,
    "--pass": _passes,
    "--runtime": _runtimes,
    "--target": _targets,
    "--task": _terms,
}
_OF_ARGUMENTS: Final[dict[tuple[str, ...], Values]] = {
    ("devices", "probe", "board"): _boards,
    ("devices", "show", "name"): _devices,
    ("models", "archive", "name"): _models,
    ("models", "eval", "name"): _models,
    ("models", "refit", "name"): _models,
    ("models", "show", "name"): _models,
    ("passes", "show", "pass_id"): _passes,
}

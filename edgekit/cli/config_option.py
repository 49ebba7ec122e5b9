"""--config: options that a file gives in place of the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

FILE = "edgekit.toml"
"""Read without being named, where the current folder has it."""


def config_option(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command --config: a file whose keys are the defaults of the options of their names. What holds is said on stderr."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help=f"A file of options, which others override; without it {FILE} of the current folder, where there is one.",
    )
    @wraps(command)
    def with_config(**options: Any) -> None:
        context = click.get_current_context()
        if options["course"] and context.get_parameter_source("config") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--from takes no --config: the network is as the clients learnt it.")
        if context.default_map:
            replaced = _replaced(context)
            options |= dict.fromkeys(replaced)
            _tell(context, replaced)
        command(**options)

    return with_config


def _read(context: click.Context, _parameter: click.Parameter, given: Path | None) -> None:
    """A learnt network is built by the command line alone."""
    path = given or Path(FILE)
    if context.resilient_parsing or (given is None and (context.params.get("course") or not path.is_file())):
        return
    from edgekit.core.budget import Share
    from edgekit.pipeline.build_config import BUDGET, BUDGET_KEYS, read_build_config

    inputs = read_build_config(path).inputs()
    budget = inputs.pop(BUDGET)
    limits = {key.name: limit for key in BUDGET_KEYS if (limit := getattr(budget, key.name)) is not None}
    texts = {
        name: f"{100 * limit.fraction!r}%" if isinstance(limit, Share) else repr(limit)
        for name, limit in limits.items()
    }
    context.default_map = {**inputs, **texts}
    context.meta[FILE] = path


def _replaced(context: click.Context) -> set[str]:
    """What the file says and an option of the command line excludes."""
    from edgekit.pipeline.build_config import exclude

    given, read = (_names(context, source) for source in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP))
    return {name for name in read if any(context.params[one] is not False and exclude(name, one) for one in given)}


def _names(context: click.Context, source: ParameterSource) -> list[str]:
    return [name for name in context.params if context.get_parameter_source(name) is source]


def _tell(context: click.Context, replaced: set[str]) -> None:
    held = [name for name in _names(context, ParameterSource.DEFAULT_MAP) if name not in replaced]
    if held and not context.params["quiet"]:
        with suppress(OSError):  # nobody reads
            sys.stderr.write(f"from {context.meta[FILE]}: {', '.join(held)}\n")
            sys.stderr.flush()

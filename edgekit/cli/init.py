"""edgekit init"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edgekit.cli.build import build, of_one_kind, plan_of
from edgekit.cli.config_option import FILE
from edgekit.cli.console import Console, output_options
from edgekit.cli.help import SectionedCommand

_TASK = "stop, yield, no entry"
_NO_KEYS = ("config", "course", "output", "overwrite", "dry_run", "as_json", "quiet", "verbose")


@click.command(cls=SectionedCommand, params=[option for option in build.params if option.name not in _NO_KEYS])
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=FILE,
    show_default=True,
    metavar="FILE",
    help="The file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace an older file.")
@output_options
def init(*, console: Console, output: Path, overwrite: bool, **_: Any) -> None:
    """Write a commented edgekit.toml that `edgekit build` reads.

    Takes the options of `edgekit build` and writes them down; what is not said stands there as a comment. Without a task the file
    has one to begin with.

    \b
    edgekit init
    edgekit init --task "kind=danger" --target rpi5 --latency-ms 1.0
    """
    context = click.get_current_context()
    asked = {name: value for name, value in context.params.items() if _is_given(context, name)}
    if not asked.keys() & {"task", "examples"}:
        if "model" in asked:
            raise click.UsageError("--model needs --task or --examples: what is to be recognised with it.")
        asked["task"] = _TASK
    asked.setdefault("target", context.params["target"])
    planned = _planned(asked)
    from edgekit.pipeline.build_template import write_config

    write_config(output, asked, overwrite=overwrite)
    command = "edgekit build" if output == Path(FILE) else f"edgekit build --config {output}"
    if console.as_json:
        console.json({"file": str(output), "build": command, "plan": planned})
        return
    console.facts({"file": output, "task": planned["task"]["text"], "target": planned["target"], "build": command})


def _planned(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The record of the plan. Raises what a build raises for names that are unknown and options that contradict each other."""
    from edgekit.core.budget import Budget
    from edgekit.pipeline.build_config import BUDGET_KEYS

    limits = {key.name: asked[key.name] for key in BUDGET_KEYS if key.name in asked}
    inputs = {name: value for name, value in asked.items() if name not in limits}
    return plan_of(of_one_kind({**inputs, "budget": Budget(**limits)}))


def _is_given(context: click.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return name not in _NO_KEYS and source is ParameterSource.COMMANDLINE

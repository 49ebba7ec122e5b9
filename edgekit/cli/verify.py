"""edgekit verify"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.console import Console, output_options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@output_options
def verify(*, console: Console, folder: Path) -> None:
    """Check the hashes and the outputs of a finished build again.

    \b
    edgekit verify out/
    """
    from edgekit.pipeline.check import verify as run

    result = run(folder)
    if console.as_json:
        console.json(result.to_json())
        return
    console.table(("check", "passed"), ((check.name, check.detail) for check in result.checks))

"""edgekit report"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.console import Console, output_options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@output_options
def report(*, console: Console, folder: Path) -> None:
    """Write the report.html of a finished FOLDER again.

    The page is made from the folder's report.json; its path is printed. `edgekit verify` still passes afterwards.

    \b
    edgekit report out/
    """
    from edgekit.pipeline.report import report as run

    path = run(folder)
    if console.as_json:
        console.json({"report": str(path)})
        return
    console.line(str(path))

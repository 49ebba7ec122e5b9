"""edgekit doctor"""

from __future__ import annotations

from itertools import groupby

import click

from edgekit.cli.console import Console, output_options
from edgekit.cli.progress import stages


@click.command()
@click.option("--boards", is_flag=True, help="Also ask each board of boards.toml what it is, for at most 20 s.")
@click.option("--thorough", is_flag=True, help="Import every library and try every runtime on a small network.")
@output_options
def doctor(*, console: Console, boards: bool, thorough: bool) -> None:
    """Check this machine, and say how to get what is missing.

    For each thing that is missing the line to run is printed. The exit code is 0 if a plain build works here, and 8 if
    something that it needs is missing or broken. Extras, tools and boards that are missing do not change it.

    \b
    edgekit doctor
    edgekit doctor --boards
    edgekit doctor --thorough --json
    """
    from edgekit.pipeline.doctor.doctor import doctor as run

    with stages(console) as progress:
        diagnosis = run(boards=boards, thorough=thorough, progress=progress)
    if console.as_json:
        console.json(diagnosis.to_json())
    else:
        for section, findings in groupby(diagnosis.findings, key=lambda finding: finding.section):
            console.line(section)
            rows = []
            for finding in findings:
                rows.append((f"  {finding.state}", finding.name, finding.found))
                if finding.fix:
                    rows.append(("", "", f"> {finding.fix}"))
            console.table((), rows)
            console.line()
        faults = ", ".join(f"{finding.section}: {finding.name}" for finding in diagnosis.failing)
        console.line(
            f"A plain build does not work here ({faults})."
            if faults
            else "Everything that a plain build needs is here."
        )
    click.get_current_context().exit(diagnosis.exit_code)

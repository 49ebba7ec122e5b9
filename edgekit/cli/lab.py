"""edgekit lab"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgekit.cli.console import Console, output_options
from edgekit.cli.help import Group
from edgekit.cli.progress import stages

if TYPE_CHECKING:
    from edgekit.lab.lab import Lab


@click.group(cls=Group)
def lab() -> None:
    """An emulated aarch64 board on this machine, over ssh and adb."""


@lab.command()
@click.option("--device", required=True, metavar="DEVICE", help="What to emulate; see `edgekit devices list`.")
@output_options
def up(*, console: Console, device: str) -> None:
    """Start the lab, or keep the one that is up.

    \b
    edgekit lab up --device rpi4
    """
    from edgekit.lab.lab import up as run

    with stages(console) as progress:
        started = run(device, progress=progress)
    _print(console, started)


@lab.command()
@output_options
def status(*, console: Console) -> None:
    """Tell whether the lab is up.

    \b
    edgekit lab status
    """
    from edgekit.lab.lab import status as run

    _print(console, run())


@lab.command()
@output_options
def down(*, console: Console) -> None:
    """End the lab, with all that runs on its boards and all their files.

    \b
    edgekit lab down
    """
    from edgekit.lab.lab import down as run

    ended = run()
    if console.as_json:
        console.json({"ended": ended is not None})
    else:
        console.line("the lab is down" if ended else "there was no lab")


def _print(console: Console, lab: Lab | None) -> None:
    if console.as_json:
        console.json({"lab": lab and lab.to_json()})
    elif lab is None:
        console.line("the lab is not up; start it with: edgekit lab up --device rpi4")
    else:
        console.facts(
            {
                "device": f"{lab.device}, emulated",
                **{
                    server.name: f"port {server.port}, process {server.pid}{'' if server.alive else ', which has ended'}"
                    for server in lab.servers
                },
                "boards": f"{', '.join(lab.boards)} in {lab.boards_file}"
                if lab.boards
                else "none reachable: edgekit lab up",
            }
        )

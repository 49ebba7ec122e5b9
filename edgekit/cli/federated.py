"""edgekit federated simulate | server | client | keys"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.console import Console, output_options
from edgekit.cli.help import Group, SectionedCommand
from edgekit.cli.progress import stages

if TYPE_CHECKING:
    from edgekit.federated.course_folder import CourseResult


@click.group(cls=Group)
def federated() -> None:
    """Clients train one network together and keep their pictures."""


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.option(
                "--density", type=float, default=0.05, show_default=True, help="Share of the weights that is kept."
            ),
            click.option("--rounds", type=int, default=30, show_default=True, help="Rounds of training."),
            click.option("--per-round", type=int, default=10, show_default=True, help="Clients asked in each round."),
            click.option(
                "--epochs",
                type=int,
                default=1,
                show_default=True,
                help="Times that a client goes through its pictures in a round.",
            ),
            click.option("--batch", type=int, default=32, show_default=True, help="Pictures in a mini-batch."),
            click.option("--learning-rate", type=float, default=0.1, show_default=True, help="Highest learning rate."),
            click.option(
                "--candidates", type=int, default=6, show_default=True, help="Masks that the clients vote on."
            ),
            click.option(
                "--trim",
                type=float,
                default=0.2,
                show_default=True,
                help="Share of the clients left out at each end of a trimmed mean.",
            ),
            click.option(
                "--secure",
                is_flag=True,
                help="The server learns means over groups of clients, never the update of one.",
            ),
            click.option(
                "--minimum", type=int, default=3, show_default=True, help="With --secure: fewest clients in a group."
            ),
            click.option(
                "--groups", type=int, default=3, show_default=True, help="With --secure: most groups in a round."
            ),
            click.option(
                "--clip", type=float, default=0.0, show_default=True, help="Largest norm of an update; 0 sets no limit."
            ),
            click.option(
                "--noise",
                "noise_multiplier",
                type=float,
                default=0.0,
                show_default=True,
                help="Standard deviation of the noise, as a multiple of --clip; the result reports epsilon.",
            ),
            click.option(
                "--delta", type=float, default=1e-5, show_default=True, help="The delta at which epsilon is reported."
            ),
            click.option(
                "--seed",
                type=click.IntRange(0, 2**31 - 1),
                default=0,
                show_default=True,
                help="Seed of all random choices.",
            ),
        )
    ):
        command = option(command)
    return command


def _budget(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.option("--ram-mb", type=float, metavar="MB", help="Most memory of a round, in megabytes."),
            click.option(
                "--mmacs", type=float, metavar="MILLIONS", help="Most multiply-accumulates of a round, in millions."
            ),
            click.option(
                "--traffic-mb",
                type=float,
                metavar="MB",
                help="Most traffic of a round, both directions together, in megabytes.",
            ),
        )
    ):
        command = option(command)
    return command


def _limits(asked: dict[str, Any]) -> dict[str, int | None]:
    scaled = {"ram_bytes": asked.pop("ram_mb"), "macs": asked.pop("mmacs"), "traffic_bytes": asked.pop("traffic_mb")}
    return {name: None if value is None else round(value * 1e6) for name, value in scaled.items()}


@federated.command(cls=SectionedCommand)
@click.option("--task", required=True, help='Labels such as "stop, yield", or all.')
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Labelled pictures, dealt out to the clients.",
)
@click.option(
    "--public",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Labelled pictures of the server's own, to prune on.  [default: those that the supernet ships]",
)
@click.option("--model", default="signs43", show_default=True, help="The supernet to start from, by name or folder.")
@click.option("--genotype", metavar="GENOTYPE", help="The subnet to train.  [default: the whole supernet]")
@click.option(
    "--clients",
    default="natural",
    show_default=True,
    metavar="KIND",
    help="How pictures are dealt out: natural or track (whole tracks), dirichlet:0.5 (by label), even.",
)
@click.option("--number", type=int, default=20, show_default=True, help="Number of clients.")
@_settings
@_budget
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Play the clients on a Ray cluster, one a core; local: on the cores of this machine.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The course's folder; a course that was interrupted goes on from it.",
)
@output_options
def simulate(*, console: Console, output: Path, ray: str | None, **asked: Any) -> None:
    """Run a course with all clients simulated, in this process or on a Ray cluster.

    A course that was interrupted goes on from its last complete round when the same command is given again.

    \b
    edgekit federated simulate --task all --data signs43_data/ \\
        --clients track --density 0.05 --rounds 30 -o fl/
    edgekit build --from fl/ --target rpi4 -o out/
    """
    places = {name: asked.pop(name) for name in ("task", "data", "public", "model", "genotype", "clients", "number")}
    if places["clients"] == "track":
        places["clients"] = "natural"
    with stages(console) as progress:
        progress("start")
        from edgekit.federated.costs import ClientBudget
        from edgekit.federated.settings import Settings
        from edgekit.federated.simulate import simulate as run

        budget = ClientBudget(**_limits(asked))
        result = run(**places, output=output, settings=Settings(**asked), budget=budget, ray=ray, progress=progress)
    _show(console, result)


def _show(console: Console, result: CourseResult) -> None:
    if console.as_json:
        console.json(result.to_json())
        return
    console.facts(
        {
            "folder": result.folder,
            "kept": f"{result.kept:,} of {result.weights:,} weights, {result.others:,} other parameters",
            **({} if result.accuracy is None else {"accuracy": f"{result.accuracy:.2%} (measured, server's pictures)"}),
            **(
                {}
                if result.epsilon is None
                else {"privacy": f"epsilon {result.epsilon:.3g} at delta {result.delta:.1g} for a client (computed)"}
            ),
            "traffic": f"{result.traffic_bytes:,} bytes (counted); dense {result.dense_traffic_bytes:,} (computed)",
        }
    )
    for note in result.notes:
        console.line(f"note: {note}")


@federated.command()
@click.option(
    "--config",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The settings of the course; see docs/federated-deployment.md.",
)
@output_options
def server(*, console: Console, config: Path) -> None:
    """Run a course with clients on other machines, to its end.

    A course that was interrupted goes on from its last complete round when the same command is given again.

    \b
    edgekit federated server --config fed.toml
    """
    with stages(console) as progress:
        progress("start")
        from edgekit.federated.serving import read_config, serve_course

        read = read_config(config)
        result = serve_course(read, ready=lambda address: progress(f"listening at {address}"), progress=progress)
    _show(console, result)


@federated.command()
@click.option(
    "--server", "address", required=True, metavar="HOST:PORT", help="The server, as its certificate names it."
)
@click.option(
    "--keys",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder that `edgekit federated keys enroll` wrote.",
)
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A folder for each label.")
@click.option("--target", metavar="DEVICE", help="This board; its memory is the limit unless --ram-mb is given.")
@_budget
@output_options
def client(*, console: Console, address: str, keys: Path, data: Path, target: str | None, **asked: Any) -> None:
    """Take part in courses until interrupted; the pictures stay on this machine.

    \b
    edgekit federated client --server fleet.example.org:8443 --keys pi-1/ \\
        --data ~/images --target rpi4
    """
    from edgekit.federated.costs import ClientBudget
    from edgekit.federated.joining import join_course, memory_of

    limits = _limits(asked)
    if target is not None and limits["ram_bytes"] is None:
        limits["ram_bytes"] = memory_of(target)
    with stages(console) as progress:
        progress(f"at the service of {address}")
        join_course(server=address, keys=keys, data=data, budget=ClientBudget(**limits))


@federated.group()
def keys() -> None:
    """Who may take part: certificates and keys, made and revoked."""


@keys.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A name that clients call the server by; may be repeated.",
)
@click.option(
    "--days", type=click.IntRange(1), default=365, show_default=True, help="How long the certificate is valid."
)
@output_options
def init(*, console: Console, folder: Path, hosts: tuple[str, ...], days: int) -> None:
    """Make a server's authority and certificate, or renew the certificate.

    \b
    edgekit federated keys init keys/ --host fleet.example.org
    """
    from edgekit.federated.keys import init as make

    made = make(folder, hosts=hosts, valid_days=days)
    _told(console, {"folder": str(made.folder), "hosts": ", ".join(hosts)})


@keys.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("name")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder to write, for the board.",
)
@click.option("--days", type=click.IntRange(1), default=365, show_default=True, help="How long the key is valid.")
@output_options
def enroll(*, console: Console, folder: Path, name: str, output: Path, days: int) -> None:
    """Let a board take part: make a key for it, in a folder to copy there.

    \b
    edgekit federated keys enroll keys/ pi-1 -o pi-1/
    """
    from edgekit.federated.keys import enroll as make

    node = make(folder, name, bundle=output, valid_days=days)
    _told(console, {"name": node.name, "number": node.number, "key": node.fingerprint, "until": node.expires_at})


@keys.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("name")
@output_options
def revoke(*, console: Console, folder: Path, name: str) -> None:
    """Shut a board out; a running server refuses its next call.

    \b
    edgekit federated keys revoke keys/ pi-1
    """
    from edgekit.federated.keys import revoke as shut

    node = shut(folder, name)
    _told(console, {"name": node.name, "number": node.number, "key": node.fingerprint, "revoked": node.revoked_at})


def _told(console: Console, facts: dict[str, object]) -> None:
    if console.as_json:
        console.json(facts)
    else:
        console.facts(facts)

"""edgekit passes list | show"""

from __future__ import annotations

import click

from edgekit.cli.console import Console, output_options
from edgekit.cli.help import Group


@click.group(cls=Group)
def passes() -> None:
    """The passes that `edgekit compress` runs."""


@passes.command(name="list")
@output_options
def list_passes(*, console: Console) -> None:
    """List all passes: what each does, reduces and needs.

    \b
    edgekit passes list
    """
    from edgekit.passes.registry import pass_class, pass_ids

    kinds = [pass_class(pass_id) for pass_id in pass_ids()]
    if console.as_json:
        console.json(
            {
                "passes": [
                    {"id": kind.id, "summary": kind.summary, "reduces": list(kind.reduces), "needs": kind.needs.value}
                    for kind in kinds
                ]
            }
        )
        return
    console.table(
        ("pass", "reduces", "needs", "what it does"),
        ((kind.id, ", ".join(kind.reduces) or "-", kind.needs.value, kind.summary) for kind in kinds),
    )


@passes.command()
@click.argument("pass_id", metavar="ID")
@output_options
def show(*, console: Console, pass_id: str) -> None:
    """Show one pass with its options, their defaults, and the values that a search may try.

    \b
    edgekit passes show prune::net_trim
    """
    from edgekit.passes.registry import options_of, pass_class

    kind = pass_class(pass_id)
    options = options_of(kind)
    if console.as_json:
        console.json(
            {
                "id": kind.id,
                "summary": kind.summary,
                "source": kind.source,
                "reduces": list(kind.reduces),
                "needs": kind.needs.value,
                "options": [
                    {
                        "name": option.name,
                        "type": option.type_name,
                        "default": option.default,
                        "help": option.help,
                        "search": list(option.search),
                    }
                    for option in options
                ],
            }
        )
        return
    console.facts(
        {
            "pass": kind.id,
            "does": kind.summary,
            "reduces": ", ".join(kind.reduces) or "nothing by itself",
            "needs": kind.needs.value,
            "source": kind.source,
        }
    )
    if options:
        console.line()
        console.table(
            ("option", "type", "default", "search", "meaning"),
            (
                (
                    option.name,
                    option.type_name,
                    "none" if option.default is None else str(option.default),
                    ", ".join(map(str, option.search)) or "-",
                    option.help,
                )
                for option in options
            ),
        )

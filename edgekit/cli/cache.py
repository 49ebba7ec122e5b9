"""edgekit cache"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from edgekit.cli.console import Console, output_options
from edgekit.cli.help import Group

if TYPE_CHECKING:
    from edgekit.pipeline.build_cache import BuildCache

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Z]*)\s*")


@click.group(cls=Group)
def cache() -> None:
    """Finished builds that are not made a second time.

    `edgekit fleet`, and `edgekit.build()` in Python without an output folder, look there first; `edgekit build` does not.

    \b
    edgekit cache show
    edgekit cache limit 500MB
    """


@cache.command()
@output_options
def show(*, console: Console) -> None:
    """Where the cache lies, and how full it is.

    \b
    edgekit cache show
    """
    _show(console)


@cache.command()
@output_options
def clear(*, console: Console) -> None:
    """Remove all builds from the cache; build folders elsewhere stay.

    \b
    edgekit cache clear
    """
    cache = _cache()
    cleared = cache.clear()
    if console.as_json:
        console.json({"folder": str(cache.folder), "cleared": cleared})
    else:
        console.line(f"{cleared} builds removed from {cache.folder}")


@cache.command()
@click.argument("size", metavar="SIZE")
@output_options
def limit(*, console: Console, size: str) -> None:
    """Keep at most SIZE, such as 500MB; at 0 nothing is kept.

    \b
    edgekit cache limit 2GB
    """
    from edgekit.pipeline.build_cache import set_limit

    set_limit(_bytes(size))
    _cache().trim()
    _show(console)


def _show(console: Console) -> None:
    cache = _cache()
    entries = tuple(cache.entries())
    size = sum(entry.size_bytes for entry in entries)
    if console.as_json:
        record = {
            "folder": str(cache.folder),
            "builds": len(entries),
            "size_bytes": size,
            "limit_bytes": cache.limit_bytes,
        }
        console.json(record)
        return
    console.facts(
        {
            "folder": cache.folder,
            "builds": len(entries),
            "size": f"{size / 1e6:,.1f} MB",
            "limit": f"{cache.limit_bytes / 1e6:,.1f} MB",
        }
    )


def _cache() -> BuildCache:
    from edgekit.pipeline.build_cache import user_cache

    return user_cache()


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text.upper())
    if match is None or match[2] not in _UNITS:
        raise click.BadParameter(f'"{text}" is no size: write it as 500MB or 2GB.', param_hint="SIZE")
    return int(float(match[1]) * _UNITS[match[2]])

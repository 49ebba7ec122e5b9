"""The limits and the floor that commands take."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from edgekit.core.budget import Budget, Limit, parse_limit


def budget_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command --latency-ms, --size-bytes, --peak-ram-bytes, --macs and --min-accuracy, and hands it a `budget`."""

    @_limit("--latency-ms", "Most time for one picture on the board, in milliseconds.")
    @_limit("--size-bytes", "Largest file, in bytes.")
    @_limit("--peak-ram-bytes", "Most memory for activations, in bytes.")
    @_limit("--macs", "Most multiply-accumulates for one picture.")
    @_limit(
        "--min-accuracy",
        "Least accuracy, such as 0.97, or as 95% of what the full supernet reaches; the fastest such network is taken.",
        metavar="FRACTION|SHARE",
    )
    @wraps(command)
    def with_budget(
        *,
        latency_ms: Limit | None,
        size_bytes: Limit | None,
        peak_ram_bytes: Limit | None,
        macs: Limit | None,
        min_accuracy: Limit | None,
        **options: Any,
    ) -> None:
        budget = Budget(
            latency_ms=latency_ms,
            size_bytes=size_bytes,
            peak_ram_bytes=peak_ram_bytes,
            macs=macs,
            min_accuracy=min_accuracy,
        )
        command(budget=budget, **options)

    decorated: Callable[..., None] = with_budget
    return decorated


def compression_budget_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command --latency-ms, --size-bytes and --macs, and hands it a `budget`."""

    @_limit("--latency-ms", "Most time for one input on the board, in milliseconds.")
    @_limit("--size-bytes", "Largest file, in bytes.")
    @_limit("--macs", "Most multiply-accumulates for one input.")
    @wraps(command)
    def with_budget(*, latency_ms: Limit | None, size_bytes: Limit | None, macs: Limit | None, **options: Any) -> None:
        command(budget=Budget(latency_ms=latency_ms, size_bytes=size_bytes, macs=macs), **options)

    decorated: Callable[..., None] = with_budget
    return decorated


def _limit(flag: str, text: str, *, metavar: str = "LIMIT") -> Callable[[Any], Any]:
    def parsed(_context: click.Context, parameter: click.Parameter, given: str | None) -> Limit | None:
        return None if given is None else parse_limit(given, name=parameter.opts[0])

    return click.option(flag, callback=parsed, metavar=metavar, help=text)

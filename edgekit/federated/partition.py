"""How samples are dealt to simulated clients: by what they have in common, by drawn shares of labels, or evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import UsageError


def by_unit(unit_N: NDArray[np.int64], clients: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Indices of each client's samples: whole units (a track, a drawer), dealt at random and as evenly as whole units allow.

    Raises UsageError where there are fewer units than clients.
    """
    units = np.unique(unit_N)
    _check(len(units), clients, "natural units")
    owner_U = np.empty(len(units), np.int64)
    owner_U[rng.permutation(len(units))] = np.arange(len(units)) % clients
    owner_N = owner_U[np.searchsorted(units, unit_N)]
    return [np.flatnonzero(owner_N == number) for number in range(clients)]


def by_dirichlet(
    y_N: NDArray[np.int64], clients: int, concentration: float, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Each label's samples in shares drawn from Dirichlet(`concentration`) over the clients (Hsu et al., arXiv 1909.06335).

    A client left with fewer than two samples gets some of the largest. Raises UsageError where there are too few for that.
    """
    _check(len(y_N) // 2, clients, "pairs of samples")
    parts: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(y_N):
        indices = rng.permutation(np.flatnonzero(y_N == label))
        share_K = rng.dirichlet(np.full(clients, concentration))
        ends = np.round(np.cumsum(share_K) * len(indices)).astype(np.int64)
        for part, some in zip(parts, np.split(indices, ends[:-1]), strict=True):
            part.extend(some.tolist())
    for part in parts:
        while len(part) < 2:
            part.append(max(parts, key=len).pop())
    return [np.sort(np.asarray(part, np.int64)) for part in parts]


def evenly(number: int, clients: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """At random. Raises UsageError where there are fewer samples than clients."""
    _check(number, clients, "samples")
    return [np.sort(part) for part in np.array_split(rng.permutation(number), clients)]


def _check(there_are: int, clients: int, what: str) -> None:
    if clients < 1 or there_are < clients:
        raise UsageError(f"{there_are} {what} for {clients} clients", hint="ask for fewer clients, at least 1")


def partition(
    kind: str, y_N: NDArray[np.int64], unit_N: NDArray[np.int64], clients: int, seed: int
) -> Sequence[NDArray[np.int64]]:
    """`kind` is "natural", "dirichlet:CONCENTRATION" or "even". Raises UsageError for any other."""
    rng = np.random.default_rng(seed)
    name, _, value = kind.partition(":")
    if name == "natural" and not value:
        return by_unit(unit_N, clients, rng)
    if name == "even" and not value:
        return evenly(len(y_N), clients, rng)
    if name == "dirichlet":
        try:
            concentration = float(value or "0.5")
        except ValueError:
            concentration = 0.0
        if concentration > 0:
            return by_dirichlet(y_N, clients, concentration, rng)
    raise UsageError(
        f'"{kind}" is not a way to deal out samples', hint='use "natural" (or "track"), "dirichlet:0.5" or "even"'
    )

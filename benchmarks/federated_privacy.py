"""What privacy costs: a secure sum in seconds and bytes, and an epsilon in noise.

    python benchmarks/federated_privacy.py [--entries N] [-o RESULT.json]

The first table plays one round of secure aggregation with a third of the clients lost after they shared their keys, which is
the dearest case for the server, and checks the sum. Seconds of a client are those of its own steps, one after the other. The second
says what epsilon is after 30 rounds of 10 clients on average, to the server, which knows who took part (in all rounds, at worst),
and to all others; and how long the noise in the mean of 10 updates is, where no update is longer than the clipping norm.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass

import numpy as np
from harness import Table, bars, options_of, publish

from edgekit.federated.fixed_point import FixedPoint
from edgekit.federated.privacy import Privacy, epsilon
from edgekit.federated.secure_aggregation import masked, revealed, shared, traffic, unmasked
from edgekit.federated.secure_messages import Cohort, Secrets

COHORTS = (10, 30, 50)
ROUNDS, DRAWN = 30, 10
POPULATIONS = (50, 1_000)
MULTIPLIERS = (0.5, 1.0, 2.0, 4.0, 8.0)
BAR_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sum:
    clients: int
    lost: int
    client_seconds: float
    server_seconds: float
    up_bytes: int
    down_bytes: int
    exact: bool


def secure_round(clients: int, entries: int, seed: int) -> Sum:
    generator = np.random.default_rng(seed)
    fixed = FixedPoint(largest=1.0, clients=clients)
    vectors = [generator.normal(0, 0.1, entries).astype(np.float32) for _ in range(clients)]
    began = time.perf_counter()
    secrets = [Secrets.drawn(client, generator.bytes) for client in range(clients)]
    advertisements = tuple(one.advertisement() for one in secrets)
    spent = time.perf_counter() - began
    cohort = Cohort(session=b"round 1", minimum=3, advertisements=advertisements)
    began = time.perf_counter()
    shares = {one.client: shared(one, cohort, generator.bytes) for one in secrets}
    spent += time.perf_counter() - began
    survivors = secrets[clients // 3 :]
    began = time.perf_counter()
    numbers = {one.client: fixed.encoded(vectors[one.client], 1, generator.bytes) for one in survivors}
    sent = {one.client: masked(one, cohort, shares, numbers[one.client]) for one in survivors}
    answers = [
        revealed(one, cohort, {sender: content[one.client] for sender, content in shares.items()}, sent)
        for one in survivors
    ]
    survivor_seconds = (time.perf_counter() - began) / len(survivors)
    began = time.perf_counter()
    total_P = unmasked(cohort, shares, sent, answers)
    server_seconds = time.perf_counter() - began
    expected_P = np.stack(list(numbers.values())).sum(0, dtype=np.uint32)
    weight = traffic(entries + 1, clients)
    return Sum(
        clients=clients,
        lost=clients - len(survivors),
        client_seconds=spent / clients + survivor_seconds,
        server_seconds=server_seconds,
        up_bytes=weight.up_bytes,
        down_bytes=weight.down_bytes,
        exact=bool(np.array_equal(total_P, expected_P)),
    )


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--entries", type=int, default=100_000, help="numbers in an update; default: %(default)s")
    options = parser.parse_args()
    sums = [secure_round(clients, options.entries, options.seed) for clients in COHORTS]
    losses = {
        multiplier: [
            epsilon(Privacy(clip=1, noise_multiplier=multiplier), ROUNDS, rate)
            for rate in (1.0, *(DRAWN / population for population in POPULATIONS))
        ]
        for multiplier in MULTIPLIERS
    }
    lengths = {multiplier: multiplier * math.sqrt(options.entries) / DRAWN for multiplier in MULTIPLIERS}
    plain = 4 * options.entries
    tables = [
        Table(
            f"A secure sum of updates of {options.entries:,} numbers ({plain:,} bytes)",
            ("clients", "lost", "s a client", "s server", "up over plain", "down over plain", "exact"),
            [
                (
                    one.clients,
                    one.lost,
                    f"{one.client_seconds:.3f}",
                    f"{one.server_seconds:.2f}",
                    f"{one.up_bytes - plain:,}",
                    f"{one.down_bytes:,}",
                    "yes" if one.exact else "NO",
                )
                for one in sums
            ],
        ),
        Table(
            f"Epsilon at delta 1e-5 after {ROUNDS} rounds, {DRAWN} clients a round",
            ("noise multiplier", "server", *(f"others, of {number:,}" for number in POPULATIONS), "noise over clip"),
            [
                (multiplier, *(f"{one:.2f}" for one in row), f"{lengths[multiplier]:.1f}")
                for multiplier, row in losses.items()
            ],
        ),
        bars(
            (
                "seconds of a client",
                f"{max(one.client_seconds for one in sums):.3f}",
                f"below {BAR_SECONDS:g}",
                max(one.client_seconds for one in sums) < BAR_SECONDS,
            ),
            ("sums", f"{sum(one.exact for one in sums)} of {len(sums)} exact", "all", all(one.exact for one in sums)),
        ),
    ]
    figures = {
        "entries": options.entries,
        "sums": [asdict(one) for one in sums],
        "epsilon": {str(multiplier): row for multiplier, row in losses.items()},
        "noise_over_clip": {str(multiplier): length for multiplier, length in lengths.items()},
    }
    publish("federated_privacy", tables, figures, options.output)


if __name__ == "__main__":
    main()

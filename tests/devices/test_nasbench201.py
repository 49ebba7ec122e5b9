from __future__ import annotations

import csv
import gzip
import random
from collections import Counter
from pathlib import Path

import pytest

from edgekit.core.errors import BadInputError
from edgekit.core.operators import OperatorKind
from edgekit.devices.nasbench201 import executed, has_path, operators_of, parse_cell

TABLE = Path(__file__).parents[2].parent / "shared" / "data" / "latency" / "nasbench201.csv.gz"
DENSEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
OPERATORS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")


def cell(*operators: str) -> str:
    a, b, c, d, e, f = operators
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def test_the_densest_network_has_the_published_arithmetic() -> None:
    """220.12 M multiply-accumulates and 1.53 M parameters, by the benchmark's own tables."""
    operators = operators_of(parse_cell(DENSEST))
    assert sum(operator.macs for operator in operators) / 1e6 == pytest.approx(220.12, abs=0.01)
    # The tables count two parameters of each normalisation where a bias is left here.
    assert sum(operator.weights for operator in operators) / 1e6 == pytest.approx(1.531, abs=0.01)


def test_every_operator_reads_what_was_written_before() -> None:
    rng = random.Random(0)
    for _ in range(50):
        edges = parse_cell(cell(*rng.choices(OPERATORS, k=6)))
        written = {"input"}
        for operator in operators_of(executed(edges)):
            assert {tensor.name for tensor in operator.inputs} <= written
            written.add(operator.output.name)


@pytest.mark.parametrize(
    ("operators", "runs"),
    [
        # An operator whose node reaches the output is executed.
        (("nor_conv_3x3", "none", "none", "none", "nor_conv_1x1", "none"), {1, 3}),
        # A lone convolution of a dead node is; a pool or a sum is not.
        (("nor_conv_3x3", "none", "none", "skip_connect", "none", "none"), {1, 3}),
        (("avg_pool_3x3", "none", "none", "skip_connect", "none", "none"), {3}),
        (("skip_connect", "nor_conv_3x3", "nor_conv_3x3", "none", "skip_connect", "none"), {1, 3}),
        # So is what it reads.
        (("nor_conv_1x1", "none", "nor_conv_3x3", "skip_connect", "none", "none"), {1, 2, 3}),
    ],
)
def test_what_a_runtime_drops(operators: tuple[str, ...], runs: set[int]) -> None:
    assert {edge.node for edge in executed(parse_cell(cell(*operators)))} == runs


@pytest.mark.parametrize(
    ("operators", "connected"),
    [
        (("none",) * 6, False),
        (("none", "none", "none", "none", "nor_conv_3x3", "none"), False),
        (("nor_conv_3x3", "none", "none", "none", "none", "none"), False),
        (("none", "none", "none", "skip_connect", "none", "none"), True),
        (("skip_connect", "none", "skip_connect", "none", "none", "skip_connect"), True),
    ],
)
def test_a_network_without_a_path_is_known(operators: tuple[str, ...], connected: bool) -> None:
    assert has_path(parse_cell(cell(*operators))) is connected


@pytest.mark.parametrize("text", ["", "|none~0|", DENSEST[:-1] + "|x~1|", DENSEST.replace("nor_conv_3x3~2", "lstm~2")])
def test_what_is_no_cell_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="not a cell"):
        parse_cell(text)


@pytest.mark.skipif(not TABLE.exists(), reason="the measured latencies are not here")
def test_dead_convolutions_explain_the_phone_s_latencies() -> None:
    """On pixel3 networks whose cells execute the same operators take the same time, whatever else they hold."""
    with gzip.open(TABLE, "rt", newline="") as file:
        rows = [(parse_cell(row["arch"]), float(row["pixel3"])) for row in csv.DictReader(file)]
    rows = [(edges, latency_ms) for edges, latency_ms in rows if has_path(edges)]

    def counts(edges: tuple) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(Counter(edge.operator for edge in edges if edge.operator != "skip_connect").items()))

    slowest_of_live: dict[tuple, float] = {}
    for edges, latency_ms in rows:
        if executed(edges) == edges:
            key = counts(edges)
            slowest_of_live[key] = max(latency_ms, slowest_of_live.get(key, 0))
    others = [
        latency_ms / slowest_of_live[counts(executed(edges))]
        for edges, latency_ms in rows
        if executed(edges) != edges and counts(executed(edges)) in slowest_of_live
    ]
    assert len(others) > 1000
    assert max(others) < 1.05


def test_pools_are_kept_apart_from_convolutions() -> None:
    kinds = Counter(
        op.kind for op in operators_of(parse_cell(cell("avg_pool_3x3", *["none"] * 3, "skip_connect", "none")))
    )
    assert kinds[OperatorKind.POOL] == 15 + 2 + 1

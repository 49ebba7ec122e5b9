"""Networks of NAS-Bench-201 (arXiv 2001.00326) from their strings, such as `|nor_conv_3x3~0|+|none~0|none~1|+|...|`.

A network is a stem, three stages of five equal cells on 32 x 32, 16 x 16 and 8 x 8 pixels, and a head. A cell adds up, at each of
its nodes 1 to 3, the results of operators on the nodes before; `none` stands for no edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.core.errors import BadInputError
from edgekit.core.operators import Operator, Tensor
from edgekit.devices.tape import Tape

_SKIP, _POOL, _NONE = "skip_connect", "avg_pool_3x3", "none"
_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
_STAGES, _CELLS, _CLASSES = (16, 32, 64), 5, 10
_INPUT, _OUTPUT = 0, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    source: int
    node: int
    operator: str

    @property
    def is_convolution(self) -> bool:
        return self.operator in _KERNELS


def parse_cell(text: str) -> tuple[Edge, ...]:
    """All edges but `none`, by node. Raises BadInputError for what is no cell."""
    parts = text.split("+")
    edges = [
        Edge(source=int(source), node=node, operator=operator)
        for node, part in enumerate(parts, start=1)
        for operator, source in re.findall(r"(\w+)~(\d)", part)
    ]
    expected = [(source, node) for node in range(1, _OUTPUT + 1) for source in range(node)]
    if [(edge.source, edge.node) for edge in edges] != expected or not {edge.operator for edge in edges} <= {
        _SKIP,
        _POOL,
        _NONE,
        *_KERNELS,
    }:
        raise BadInputError(
            f'"{text}" is not a cell of NAS-Bench-201', hint="it has six edges, such as |none~0|+|...|+|...|"
        )
    return tuple(edge for edge in edges if edge.operator != _NONE)


def has_path(edges: Sequence[Edge]) -> bool:
    """Whether the cell's output depends on its input."""
    return _OUTPUT in _reached(edges)


def live(edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """The edges that the output depends on."""
    return tuple(edge for edge in edges if edge.node in _wanted(edges))


def executed(edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """The edges that the runtimes behind the tables of raspi4 and pixel3 (HW-NAS-Bench, arXiv 2103.10584) executed.

    What never reaches the output was dropped, with one exception that those tables show: a node that is only
    multiplied by zero and is the result of a single convolution. The product was folded into its weights, and a convolution
    with weights of zero is executed like any other.
    """
    kept = _wanted(edges)
    read = [edge for edge in edges if edge.is_convolution or edge.source in _reached(edges)]
    into = {node: [edge for edge in read if edge.node == node] for node in (1, 2, _OUTPUT)}

    def is_convolution(node: int) -> bool:
        """Skips aside, the node is the result of one convolution."""
        if node == _INPUT or len(into[node]) != 1:
            return False
        (edge,) = into[node]
        return edge.is_convolution or (
            edge.operator == _SKIP and edge.source not in kept and is_convolution(edge.source)
        )

    first, second = 1 not in kept, 2 not in kept
    reads_first = any(edge.source == 1 for edge in into[2])
    # A folded product of node 1 is a term of node 2, whose own product then has no single convolution to be folded into.
    if second and is_convolution(2) and not (first and not reads_first and is_convolution(1)):
        kept = kept | {2} | ({1} if reads_first else set())
    if 1 not in kept and is_convolution(1) and (not second or not into[2]):
        kept = kept | {1}
    return tuple(edge for edge in edges if edge.node in kept)


def operators_of(edges: Iterable[Edge]) -> tuple[Operator, ...]:
    """The operators of a whole network whose cells execute these edges."""
    cell = tuple(edges)
    tape = Tape(resolution=32)
    tape.conv(_STAGES[0], kernel=3)
    for stage, channels in enumerate(_STAGES):
        if stage:
            _reduce(tape, channels)
        for _ in range(_CELLS):
            _add_cell(tape, cell)
    tape.mean()
    tape.conv(_CLASSES)
    return tuple(tape.operators)


def _reduce(tape: Tape, channels: int) -> None:
    """A residual block with stride 2; its shortcut is a mean over 2 x 2 and a convolution."""
    x, size, narrow = tape.current, tape.resolution, tape.channels
    tape.conv(channels, kernel=3, stride=2)
    tape.conv(channels, kernel=3)
    body = tape.current
    tape.current, tape.resolution, tape.channels = x, size, narrow
    tape.pool(kernel=2, stride=2)
    tape.conv(channels)
    tape.add(body)


def _add_cell(tape: Tape, edges: Sequence[Edge]) -> None:
    nodes = {_INPUT: tape.current}
    for node in range(1, _OUTPUT + 1):
        terms = [_term(tape, edge, nodes) for edge in edges if edge.node == node]
        # A node without an edge is zero: what reads it costs as much as if it held the input.
        tape.current = terms[0] if terms else nodes[_INPUT]
        for term in terms[1:]:
            tape.add(term)
        nodes[node] = tape.current


def _term(tape: Tape, edge: Edge, nodes: dict[int, Tensor]) -> Tensor:
    tape.current = nodes[edge.source]
    if edge.is_convolution:
        tape.conv(tape.channels, kernel=_KERNELS[edge.operator])
    elif edge.operator == _POOL:
        tape.pool(kernel=3)
    return tape.current


def _wanted(edges: Sequence[Edge]) -> frozenset[int]:
    """Nodes that the output depends on."""
    wanted = {_OUTPUT}
    for edge in reversed(edges):
        if edge.node in wanted:
            wanted.add(edge.source)
    return frozenset(wanted)


def _reached(edges: Sequence[Edge]) -> frozenset[int]:
    """Nodes that depend on the input."""
    reached = {_INPUT}
    for edge in edges:
        if edge.source in reached:
            reached.add(edge.node)
    return frozenset(reached)

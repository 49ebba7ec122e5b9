"""The units that progressive pruning adjusts one at a time: the blocks of a network, found by its structure."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx


def units_of(module: fx.GraphModule, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The named parameters in execution order, those of one block together.

    Blocks meet where a single tensor carries all that goes on: a chain of layers gives a unit for each layer, residual
    blocks and branches stay whole. Parameters that the graph reads from no layer are left out.
    """
    wanted = set(names)
    last_read = {node: position for position, node in enumerate(module.graph.nodes) for node in node.all_input_nodes}
    units: list[tuple[str, ...]] = []
    unit: list[str] = []
    live: set[fx.Node] = set()
    taken: set[str] = set()
    for position, node in enumerate(module.graph.nodes):
        parameter = f"{node.target}.weight" if node.op == "call_module" else ""
        if parameter in wanted and parameter not in taken:
            taken.add(parameter)
            unit.append(parameter)
        if node.op != "get_attr" and node in last_read:
            live.add(node)
        live = {one for one in live if last_read[one] > position}
        if len(live) <= 1 and unit:
            units.append(tuple(unit))
            unit = []
    return (*units, tuple(unit)) if unit else tuple(units)

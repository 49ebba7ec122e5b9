"""Which kind of brick pays on a board, by its cost model, at equal MACs.

    python benchmarks/brick_costs.py [--target TARGET] [-o RESULT.json]

A block of fused bricks with twice as many hidden channels as it reads, at four positions of a network for 64 x 64 pixels; each
other kind has as many hidden channels as cost the same MACs. Without attention, and with each. Nothing is measured here: a cost
says nothing about what a brick learns.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from harness import Table

from edgekit.core.operators import Operator, Tensor
from edgekit.core.records import write_json
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.devices.target import parse_target
from edgekit.pipeline.bricks import within_a_network
from edgekit.supernet.description import block_operators
from edgekit.supernet.spec import Attention, BlockKind, BlockSpec

POSITIONS = ((32, 32), (64, 16), (128, 8), (256, 4))
"""(channels, edge in positions)."""
STEP = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one block with all bricks open."""

    hidden_channels: int
    macs: int
    weights: int
    latency_ms: float


def block_of(kind: BlockKind, channels: int, hidden: int, attention: Attention = Attention.NONE) -> BlockSpec:
    return BlockSpec(
        kind=kind,
        in_channels=channels,
        out_channels=channels,
        hidden_channels=hidden,
        kernel=3,
        stride=1,
        bricks=STEP // 2,
        attention=attention,
    )


def operators_of(block: BlockSpec, size: int) -> list[Operator]:
    return block_operators("block", block, block.bricks, Tensor(name="x", elements=block.in_channels * size**2), size)


def cost_of(block: BlockSpec, size: int, cost_model: CostModel) -> Cost:
    operators = operators_of(block, size)
    return Cost(
        hidden_channels=block.hidden_channels,
        macs=sum(operator.macs for operator in operators),
        weights=sum(operator.weights for operator in operators),
        latency_ms=cost_model.predict_latency(operators).value,
    )


def at_equal_macs(kind: BlockKind, channels: int, size: int, macs: int) -> BlockSpec:
    """The block whose MACs are nearest, hidden channels in steps of STEP: MACs grow with them alone."""
    per_step = sum(operator.macs for operator in operators_of(block_of(kind, channels, STEP), size))
    return block_of(kind, channels, STEP * max(1, round(macs / per_step)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="rpi4")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "brick_costs.json")
    options = parser.parse_args()
    target = parse_target(options.target)
    cost_model = within_a_network(load_cost_model(target))
    rows: list[tuple[object, ...]] = []
    figures = []
    for channels, size in POSITIONS:
        fused = cost_of(block_of(BlockKind.FUSED, channels, 2 * channels), size, cost_model)
        for kind in BlockKind:
            block = at_equal_macs(kind, channels, size, fused.macs)
            cost = cost_of(block, size, cost_model)
            added = {
                attention: cost_of(replace(block, attention=attention), size, cost_model).latency_ms - cost.latency_ms
                for attention in (Attention.ECA, Attention.SE)
            }
            rows.append(
                (
                    f"{channels} channels, {size} x {size}",
                    kind,
                    cost.hidden_channels,
                    f"{cost.macs / 1e6:.2f}",
                    f"{cost.weights / 1e3:.0f}",
                    f"{cost.latency_ms:.3f}",
                    f"{cost.latency_ms / fused.latency_ms:.2f}",
                    *(f"{milliseconds:.3f}" for milliseconds in added.values()),
                )
            )
            figures.append(
                {
                    "channels": channels,
                    "size": size,
                    "kind": kind,
                    "hidden_channels": cost.hidden_channels,
                    "macs": cost.macs,
                    "weights": cost.weights,
                    "latency_ms": cost.latency_ms,
                    "attention_adds_ms": added,
                }
            )
    columns = ("position", "kind", "hidden", "MMACs", "k weights", "ms", "of fused", "+ ECA ms", "+ SE ms")
    print(Table(f"Blocks of equal MACs on {target}, predicted", columns, rows))
    write_json(
        options.output,
        {
            "schema_version": 1,
            "benchmark": "brick_costs",
            "target": str(target),
            "evidence": "predicted",
            "figures": figures,
        },
    )
    print(f"\nwritten to {options.output}")


if __name__ == "__main__":
    main()

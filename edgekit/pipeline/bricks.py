"""The kinds of bricks and of attention: what each computes, where it comes from, and what it costs on a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from edgekit.core.operators import Operator, Tensor
from edgekit.core.quantity import Quantity
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.devices.target import parse_target
from edgekit.supernet.description import block_operators
from edgekit.supernet.spec import Attention, BlockKind, BlockSpec

POSITIONS: Final = 8
REFERENCE: Final = BlockSpec(
    kind=BlockKind.INVERTED,
    in_channels=64,
    out_channels=64,
    hidden_channels=256,
    kernel=3,
    stride=1,
    bricks=8,
)
"""All its bricks open, over POSITIONS x POSITIONS positions; each kind in its place, and each attention within it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrickFacts:
    """`macs`, `weights` and `latency` are those of the reference block; of attention, what it adds to it."""

    name: str
    computes: str
    source: str
    macs: int
    weights: int
    latency: Quantity

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "latency": self.latency.to_json()}


@dataclass(frozen=True, kw_only=True, slots=True)
class BrickList:
    """Costs on `target` of one block of bricks that is part of a network."""

    target: str
    kinds: tuple[BrickFacts, ...]
    attentions: tuple[BrickFacts, ...]

    def to_json(self) -> dict[str, Any]:
        varied = ("kind", "attention", "beside")
        block = {key: value for key, value in asdict(REFERENCE).items() if key not in varied}
        return {
            "target": self.target,
            "reference": {**block, "positions": [POSITIONS, POSITIONS]},
            "kinds": [facts.to_json() for facts in self.kinds],
            "attentions": [facts.to_json() for facts in self.attentions],
        }


def list_bricks(target: str = "rpi4") -> BrickList:
    """Raises UsageError for an unknown target."""
    parsed = parse_target(target)
    cost_model = within_a_network(load_cost_model(parsed))
    plain = _operators(REFERENCE)
    kinds = tuple(
        _facts(kind, *_words_of_kind(kind), _operators(replace(REFERENCE, kind=kind)), cost_model) for kind in BlockKind
    )
    names = {operator.name for operator in plain}
    attentions = tuple(
        _facts(
            attention,
            *_words_of_attention(attention),
            [one for one in _operators(replace(REFERENCE, attention=attention)) if one.name not in names],
            cost_model,
        )
        for attention in Attention
        if attention is not Attention.NONE
    )
    return BrickList(target=str(parsed), kinds=kinds, attentions=attentions)


def within_a_network(cost_model: CostModel) -> CostModel:
    """The same without what a run costs whatever the network: it prices parts."""
    uncertainty = cost_model.uncertainty
    return replace(
        cost_model,
        rates=replace(cost_model.rates, ms_per_run=0.0),
        uncertainty=replace(
            uncertainty, alternatives=tuple(replace(rates, ms_per_run=0.0) for rates in uncertainty.alternatives)
        ),
    )


def _operators(block: BlockSpec) -> list[Operator]:
    x = Tensor(name="x", elements=block.in_channels * POSITIONS**2)
    return block_operators("block", block, block.bricks, x, POSITIONS)


def _facts(name: str, computes: str, source: str, operators: Sequence[Operator], cost_model: CostModel) -> BrickFacts:
    return BrickFacts(
        name=name,
        computes=computes,
        source=source,
        macs=sum(operator.macs for operator in operators),
        weights=sum(operator.weights for operator in operators),
        latency=cost_model.predict_latency(operators),
    )


def _words_of_kind(kind: BlockKind) -> tuple[str, str]:
    match kind:
        case BlockKind.FUSED:
            return "k x k convolution, 1 x 1 projection", "arXiv 2104.00298"
        case BlockKind.INVERTED:
            return "1 x 1 expansion, k x k depthwise, 1 x 1 projection", "arXiv 1801.04381"
        case BlockKind.GHOST:
            return "half by k x k convolution, half by 3 x 3 depthwise of it, 1 x 1 projection", "arXiv 1911.11907"
        case BlockKind.REPGHOST:
            return "inverted; trained with a second branch, folded when sliced", "arXiv 2211.06088"


def _words_of_attention(attention: Attention) -> tuple[str, str]:
    if attention is Attention.ECA:
        return "channels weighed by their neighbours' means", "arXiv 1910.03151"
    return "channels weighed by two dense layers on all means", "arXiv 1709.01507"

"""Every kind of brick and of attention in a real file: computed alike, and listed as it was described."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from exported_networks import pictures

from edgekit.core.images import to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.core.operators import Operator
from edgekit.devices.memory import peak_ram_bytes
from edgekit.devices.precision import Precision
from edgekit.exporters.tflite import export
from edgekit.exporters.tflite_graph import read_graph
from edgekit.exporters.verify import verify
from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import Attention, BlockKind, BlockSpec, SupernetSpec
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task

SIZE, LABELS = 16, 5
FUSED, INVERTED, GHOST, REPGHOST = BlockKind


def block(
    kind: BlockKind, channels: tuple[int, int], attention: Attention, *, stride: int = 1, beside: bool = False
) -> BlockSpec:
    return BlockSpec(
        kind=kind,
        in_channels=channels[0],
        out_channels=channels[1],
        hidden_channels=24,
        kernel=3,
        stride=stride,
        bricks=3,
        attention=attention,
        beside=beside,
    )


def all_kinds(attention: Attention) -> tuple[BlockSpec, ...]:
    return (
        block(FUSED, (8, 8), attention),
        block(GHOST, (8, 12), attention, stride=2),
        block(REPGHOST, (12, 12), attention),
        block(INVERTED, (12, 12), attention),
    )


NETWORKS = {attention.value: all_kinds(attention) for attention in Attention} | {
    "beside": (
        block(FUSED, (8, 8), Attention.NONE),
        block(REPGHOST, (8, 8), Attention.SE, beside=True),
        block(GHOST, (8, 12), Attention.NONE, stride=2),
        block(INVERTED, (8, 12), Attention.ECA, stride=2, beside=True),
        block(REPGHOST, (8, 12), Attention.NONE, stride=2, beside=True),
    )
}


def model_of(blocks: tuple[BlockSpec, ...]) -> Model:
    """The subnet of all bricks but the second of each block, weights as training would begin with."""
    spec = SupernetSpec(image_sizes=(SIZE,), stem_channels=8, blocks=blocks, labels=LABELS)
    torch.manual_seed(0)
    supernet = Supernet(spec).eval()
    supernet.head.weight.data *= 10  # probabilities that tell pictures apart
    genotype = Genotype((0b101,) * len(blocks))
    return Model(
        module=slice_subnet(supernet, genotype, Task(indices=tuple(range(LABELS)), text="all")),
        input_shape=(3, SIZE, SIZE),
        labels=tuple("abcde"),
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
        operators=describe(spec, genotype, rows=LABELS, sums=None),
    )


def executed(operators: Sequence[Operator]) -> list[tuple[object, ...]]:
    return [(one.kind, one.output.elements, one.macs, one.weights, one.biases) for one in operators]


@pytest.mark.parametrize("name", NETWORKS)
def test_bricks_are_exported_as_described(name: str, tmp_path: Path) -> None:
    model = model_of(NETWORKS[name])
    x_NHWC = to_float(pictures(48, seed=1)[:, ::2, ::2], model.preprocessing)
    int8 = export(model, precision=Precision.INT8, calibration_N=x_NHWC, folder=tmp_path)
    assert int8.reference is not None
    verify(model, int8, x_NHWC, min_agreement=0.9)
    for artifact in (int8, int8.reference):
        found = read_graph(artifact.path).operators
        assert executed(found) == executed(model.operators)
        assert peak_ram_bytes(found, artifact.precision) == peak_ram_bytes(model.operators, artifact.precision)

"""Exported torch programs read as the operators that a runtime executes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from exported_networks import SIZE, Classifier, describe
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgekit.core.errors import BadInputError
from edgekit.core.operators import OperatorKind
from edgekit.exporters.onnx_graph import read_onnx_graph
from edgekit.networks.program_graph import read_program

WITH_WEIGHTS = (OperatorKind.CONV, OperatorKind.DEPTHWISE, OperatorKind.DENSE)


def exported(module: nn.Module, *, channels: int = 3, size: int = SIZE) -> torch.export.ExportedProgram:
    return torch.export.export(module.eval(), (torch.zeros(1, channels, size, size),))


def facts(operator):
    return (operator.kind, operator.macs, operator.weights, operator.kernel, operator.stride, operator.channels)


def test_a_network_reads_as_its_maker_describes_it() -> None:
    module = Classifier(5)
    graph = read_program(exported(module))
    described = [one for one in describe(module) if one.kind in WITH_WEIGHTS]
    read = [one for one in graph.operators if one.kind in WITH_WEIGHTS]
    assert [(one.kind, one.macs, one.weights) for one in read] == [
        (one.kind, one.macs, one.weights) for one in described
    ]
    assert graph.dtypes["float32"] == len(graph.operators)
    assert graph.outputs[0].shape[-1] == 5


@settings(deadline=None, max_examples=20)
@given(
    widths=st.lists(st.integers(1, 12), min_size=2, max_size=4),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    depthwise=st.booleans(),
    normed=st.booleans(),
)
def test_multiplications_are_torchs_and_nothing_fused_is_left(
    widths: list[int], kernel: int, stride: int, depthwise: bool, normed: bool
) -> None:
    layers: list[nn.Module] = []
    for before, after in zip([3, *widths], widths, strict=False):
        layers.append(nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=not normed))
        layers += [nn.BatchNorm2d(after), nn.ReLU6()] if normed else [nn.ReLU()]
        if depthwise and after > 1:
            layers.append(nn.Conv2d(after, after, 3, padding=1, groups=after))
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 4)).eval()
    graph = read_program(exported(module, size=16))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.zeros(1, 3, 16, 16))
    assert 2 * graph.macs == counter.get_total_flops()
    assert not {"relu", "hardtanh", "batch_norm"} & set(graph.census)
    convolutions = [one for one in graph.operators if one.kind is OperatorKind.CONV and one.channels > 1]
    assert all(one.kernel == kernel and one.stride == stride for one in convolutions if one.weights)
    parameters = sum(weight.numel() for name, weight in module.named_parameters())
    norms = sum(2 * layer.num_features for layer in module if isinstance(layer, nn.BatchNorm2d))
    assert graph.parameters == parameters - norms


def test_it_reads_what_the_onnx_file_of_the_same_module_reads(tmp_path: Path) -> None:
    module = Classifier(4).eval()
    with pytest.warns(DeprecationWarning, match="ONNX export"):
        torch.onnx.export(module, (torch.zeros(1, 3, SIZE, SIZE),), str(tmp_path / "m.onnx"), dynamo=False)
    program, file = read_program(exported(module)), read_onnx_graph(tmp_path / "m.onnx")
    weighted = [[facts(one) for one in graph.operators if one.kind in WITH_WEIGHTS] for graph in (program, file)]
    assert weighted[0] == weighted[1]
    assert program.macs == file.macs


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kept, self.dead = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        self.dead(x_NCHW)
        y_NCHW = self.kept(x_NCHW)
        return torch.relu(y_NCHW) + y_NCHW


def test_dead_branches_are_left_out_and_a_shared_result_is_not_fused() -> None:
    graph = read_program(exported(Branches(), size=8))
    assert [one.kind for one in graph.operators] == [OperatorKind.CONV, OperatorKind.OTHER, OperatorKind.ADD]
    assert graph.census == {"conv2d": 1, "relu": 1, "add": 1}


def test_a_free_batch_is_one_and_a_free_size_is_refused() -> None:
    module, x_NCHW = Branches().eval(), torch.zeros(2, 3, 8, 8)
    batch, size = torch.export.Dim("n", min=1, max=64), torch.export.Dim("h", min=4, max=64)
    free_batch = torch.export.export(module, (x_NCHW,), dynamic_shapes=({0: batch},))
    assert read_program(free_batch).macs == 8 * 8 * 3 * 4
    free_size = torch.export.export(module, (x_NCHW,), dynamic_shapes=({2: size},))
    with pytest.raises(BadInputError, match="dynamic shape"):
        read_program(free_size)

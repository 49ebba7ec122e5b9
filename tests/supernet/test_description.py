"""The described operators are those that the sliced module executes."""

from __future__ import annotations

from math import prod

import torch
from hypothesis import given, settings
from random_supernets import SPEC, genotypes, random_supernet, tasks
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgekit.core.operators import OperatorKind
from edgekit.supernet.description import describe
from edgekit.supernet.subnet import Subnet, slice_subnet

SUPERNET = random_supernet(0)
X_NCHW = torch.rand(1, 3, SPEC.image_size, SPEC.image_size)


def described(genotype, task):
    outputs = len(task.grouping(SPEC.labels))
    return describe(SPEC, genotype, outputs=outputs, grouped=task.needs_all_labels)


def executed(subnet: Subnet) -> list[tuple[str, int, int, int]]:
    """(kind, elements of the output, weights, biases) of each layer with weights, in order of execution."""
    found: list[tuple[str, int, int, int]] = []

    def note(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        kind = "dense"
        if isinstance(module, nn.Conv2d):
            kind = "depthwise" if 1 < module.groups == module.in_channels else "conv"
        biases = 0 if module.bias is None else module.bias.numel()
        found.append((kind, prod(output.shape[1:]), module.weight.numel(), biases))

    handles = [m.register_forward_hook(note) for m in subnet.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    subnet(X_NCHW)
    for handle in handles:
        handle.remove()
    return found


@settings(deadline=None, max_examples=60)
@given(genotypes(), tasks())
def test_macs_are_those_that_torch_counts(genotype, task):
    subnet = slice_subnet(SUPERNET, genotype, task)
    with FlopCounterMode(display=False) as counter:
        subnet(X_NCHW)
    assert 2 * sum(operator.macs for operator in described(genotype, task)) == counter.get_total_flops()


@settings(deadline=None, max_examples=60)
@given(genotypes(), tasks())
def test_every_layer_with_weights_is_described_in_order(genotype, task):
    operators = [operator for operator in described(genotype, task) if operator.weights]
    # A depthwise convolution of a single channel is a plain one for torch.
    listed = [
        (
            "conv" if operator.kind is OperatorKind.DEPTHWISE and operator.channels == 1 else operator.kind.value,
            operator.output.elements,
            operator.weights,
            operator.biases,
        )
        for operator in operators
    ]
    assert listed == executed(slice_subnet(SUPERNET, genotype, task))


@settings(deadline=None)
@given(genotypes(), tasks())
def test_tensors_chain_from_the_picture_to_the_outputs(genotype, task):
    operators = described(genotype, task)
    known = {"input": 3 * SPEC.image_size**2}
    for operator in operators:
        for tensor in operator.inputs:
            assert known[tensor.name] == tensor.elements, f"{operator.name} reads what nobody wrote"
        assert operator.output.name not in known
        known[operator.output.name] = operator.output.elements
    read = {tensor.name for operator in operators for tensor in operator.inputs}
    assert set(known) - read == {operators[-1].output.name}, "only the last output is read by nobody"
    assert operators[-1].output.elements == len(task.grouping(SPEC.labels))


@settings(deadline=None)
@given(genotypes(), tasks())
def test_names_are_unique_and_channels_fit_the_outputs(genotype, task):
    operators = described(genotype, task)
    assert len({operator.name for operator in operators}) == len(operators)
    for operator in operators:
        if operator.channels:
            assert operator.output.elements % operator.channels == 0

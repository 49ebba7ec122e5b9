"""The described operators are those that the sliced module executes."""

from __future__ import annotations

from math import prod

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_supernets import any_subnet, genotypes, images, random_supernet, tasks
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgekit.core.operators import OperatorKind
from edgekit.supernet.description import describe
from edgekit.supernet.subnet import Subnet, slice_subnet

SUBNETS = st.one_of(genotypes().map(lambda genotype: (random_supernet(0), genotype)), any_subnet())


def described(spec, genotype, task):
    return describe(spec, genotype, rows=len(task.head_rows(spec.labels)), sums=task.sums)


def executed(subnet: Subnet, x_NCHW: torch.Tensor) -> list[tuple[str, int, int, int]]:
    """(kind, elements of the output, weights, biases) of each layer with weights, in order of execution.

    A convolution has biases in any case: TFLite writes zeros where torch has none.
    """
    found: list[tuple[str, int, int, int]] = []

    def note(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        kind, biases = "dense", 0 if module.bias is None else module.bias.numel()
        if isinstance(module, nn.Conv2d):
            kind = "depthwise" if 1 < module.groups == module.in_channels else "conv"
            biases = module.out_channels
        found.append((kind, prod(output.shape[1:]), module.weight.numel(), biases))

    handles = [m.register_forward_hook(note) for m in subnet.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    subnet(x_NCHW)
    for handle in handles:
        handle.remove()
    return found


@settings(deadline=None, max_examples=80)
@given(SUBNETS, tasks())
def test_macs_are_those_that_torch_counts(drawn, task):
    supernet, genotype = drawn
    subnet = slice_subnet(supernet, genotype, task)
    with FlopCounterMode(display=False) as counter:
        subnet(images(supernet.spec, genotype, 0, count=1))
    assert 2 * sum(operator.macs for operator in described(supernet.spec, genotype, task)) == counter.get_total_flops()


@settings(deadline=None, max_examples=80)
@given(SUBNETS, tasks())
def test_every_layer_with_weights_is_described_in_order(drawn, task):
    supernet, genotype = drawn
    operators = [operator for operator in described(supernet.spec, genotype, task) if operator.weights]
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
    assert listed == executed(slice_subnet(supernet, genotype, task), images(supernet.spec, genotype, 0, count=1))


@settings(deadline=None)
@given(SUBNETS, tasks())
def test_tensors_chain_from_the_picture_to_the_outputs(drawn, task):
    supernet, genotype = drawn
    operators = described(supernet.spec, genotype, task)
    known = {"input": 3 * supernet.spec.image_size_of(genotype) ** 2}
    for operator in operators:
        for tensor in operator.inputs:
            assert known[tensor.name] == tensor.elements, f"{operator.name} reads what nobody wrote"
        assert operator.output.name not in known
        known[operator.output.name] = operator.output.elements
    read = {tensor.name for operator in operators for tensor in operator.inputs}
    assert set(known) - read == {operators[-1].output.name}, "only the last output is read by nobody"
    assert operators[-1].output.elements == len(task.grouping(supernet.spec.labels))


@settings(deadline=None)
@given(SUBNETS, tasks())
def test_names_are_unique_and_channels_fit_the_outputs(drawn, task):
    supernet, genotype = drawn
    operators = described(supernet.spec, genotype, task)
    assert len({operator.name for operator in operators}) == len(operators)
    for operator in operators:
        if operator.channels:
            assert operator.output.elements % operator.channels == 0

"""The sliced subnet is the gated supernet, block by block and task by task."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_supernets import SPEC, any_subnet, block, genotypes, images, random_supernet, tasks

from edgekit.core.errors import BadInputError
from edgekit.supernet.blocks import Block
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import BlockKind
from edgekit.supernet.subnet import slice_subnet, task_probabilities
from edgekit.tasks.task import Task, TaskKind

SUPERNETS = [random_supernet(seed) for seed in range(3)]
ANY_TASK = Task(indices=(0, 3), text="two")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(SUPERNETS), genotypes(), tasks(), st.integers(0, 2**30))
def test_the_sliced_subnet_is_the_gated_supernet(supernet, genotype, task, seed):
    x_NCHW = images(SPEC, genotype, seed)
    gated = task_probabilities(supernet.forward_gated(x_NCHW, genotype), task)
    p_NK = slice_subnet(supernet, genotype, task)(x_NCHW)
    assert p_NK.shape == gated.shape
    assert (p_NK - gated).abs().max() <= 1e-5


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(SUPERNETS), genotypes(), st.integers(0, 2**30))
def test_computing_the_open_bricks_only_is_computing_all_with_gates(supernet, genotype, seed):
    x_NCHW = images(SPEC, genotype, seed)
    torch.testing.assert_close(
        supernet(x_NCHW, genotype), supernet.forward_gated(x_NCHW, genotype), rtol=1e-4, atol=1e-5
    )


@settings(deadline=None, max_examples=150)
@given(any_subnet(), tasks(), st.integers(0, 2**30))
def test_a_subnet_of_any_bricks_is_the_gated_supernet(drawn, task, seed):
    """All kinds, attentions, kernels and strides, some beside each other."""
    supernet, genotype = drawn
    x_NCHW = images(supernet.spec, genotype, seed)
    gated_NL = supernet.forward_gated(x_NCHW, genotype)
    subnet = slice_subnet(supernet, genotype, task)
    assert (subnet(x_NCHW) - task_probabilities(gated_NL, task)).abs().max() <= 1e-5
    torch.testing.assert_close(supernet(x_NCHW, genotype), gated_NL, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(SUPERNETS), genotypes(), tasks(), st.integers(0, 2**30))
def test_outputs_are_probabilities(supernet, genotype, task, seed):
    p_NK = slice_subnet(supernet, genotype, task)(images(SPEC, genotype, seed))
    assert (p_NK >= 0).all()
    torch.testing.assert_close(p_NK.sum(1), torch.ones(len(p_NK)), rtol=0, atol=1e-5)


@settings(deadline=None)
@given(tasks(), st.integers(0, 2**30))
def test_a_task_asks_for_sums_of_probabilities(task, seed):
    """Against the definition, label by label: classes compete among themselves, other and absent take the rest."""
    z_NL = torch.randn(3, SPEC.labels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p_NK = task_probabilities(z_NL.float(), task)
    for z_L, p_K in zip(z_NL, p_NK, strict=True):
        weight = {label: z_L[label].exp().item() for label in range(SPEC.labels)}
        asked = [weight[label] for label in task.indices]
        rest = sum(weight.values()) - sum(asked)
        groups = [sum(weight[label] for label in group.indices) for group in task.groups] or asked
        classes = [*groups, rest] if task.other else groups
        outputs = [sum(asked), rest] if task.kind is TaskKind.PRESENCE else classes
        expected = torch.tensor(outputs) / sum(outputs)
        torch.testing.assert_close(p_K, expected, rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(genotypes(), tasks())
def test_a_subnet_holds_no_gates_and_no_weights_of_the_supernet(genotype, task):
    supernet = SUPERNETS[0]
    subnet = slice_subnet(supernet, genotype, task)
    kinds = {type(module).__name__ for module in subnet.modules() if not list(module.children())}
    assert kinds <= {"Conv2d", "ReLU", "ZeroPad2d", "Linear"}
    mine = {parameter.data_ptr() for parameter in subnet.parameters()}
    theirs = {tensor.data_ptr() for tensor in (*supernet.parameters(), *supernet.buffers())}
    assert not mine & theirs


def test_closing_a_block_that_keeps_the_shape_is_the_identity() -> None:
    for kind in BlockKind:
        closed = Block(block(kind, 6, 6, 12, 3), 1).eval()
        x_NCHW = torch.randn(2, 6, 8, 8)
        assert torch.equal(closed(x_NCHW, ()), x_NCHW)
        assert torch.equal(closed(x_NCHW, (), gated=True), x_NCHW)


def test_a_closed_block_leaves_nothing_in_the_subnet() -> None:
    closed = slice_subnet(SUPERNETS[0], SPEC.smallest, ANY_TASK)
    assert sum(type(module).__name__ == "SubnetBlock" for module in closed.modules()) == 3
    for position in (0, 2, 4):
        counts = list(SPEC.full.counts)
        counts[position] = 0
        fewer = slice_subnet(SUPERNETS[0], Genotype.prefix(counts), ANY_TASK)
        assert sum(type(module).__name__ == "SubnetBlock" for module in fewer.modules()) == 5


@pytest.mark.parametrize("position", [1, 3, 5])
def test_a_block_that_changes_the_shape_refuses_to_close(position: int) -> None:
    counts = list(SPEC.full.counts)
    counts[position] = 0
    with pytest.raises(BadInputError, match=f"block {position}"):
        slice_subnet(SUPERNETS[0], Genotype.prefix(counts), ANY_TASK)


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(4)), st.integers(0, 2**30))
def test_the_order_in_which_bricks_are_named_does_not_matter(order, seed):
    whole = SUPERNETS[0].blocks[0]
    x_NCHW = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(whole(x_NCHW, tuple(order)), whole(x_NCHW, (0, 1, 2, 3)), rtol=1e-4, atol=1e-5)

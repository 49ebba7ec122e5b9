"""Each kind of brick against its paper's words, brick by brick, and in training."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_supernets import GHOST, MIXED, REPGHOST, block, images, random_supernet, specs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.blocks import Block, ChannelNorm
from edgekit.supernet.spec import Attention, BlockKind, SupernetSpec
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task

TWO = Task(indices=(0, 3), text="two")


def alone(kind: BlockKind, *, seed: int = 0, **shape: object) -> Block:
    """A block of 6 -> 8 channels with three bricks, random weights and statistics."""
    spec = SupernetSpec(
        image_sizes=(16,),
        stem_channels=6,
        blocks=(block(kind, 6, 8, 24, 3, **shape),),  # type: ignore[arg-type]
        labels=2,
    )
    (found,) = random_supernet(seed, spec).blocks
    assert isinstance(found, Block)
    return found


def normalised(norm: ChannelNorm, y_NCHW: Tensor, channels: slice) -> Tensor:
    mean, var, gamma, beta = (tensor[channels] for tensor in (norm.mean[-1], norm.var[-1], norm.gamma, norm.beta))
    return F.batch_norm(y_NCHW, mean, var, gamma, beta)


def hidden_of_brick(block: Block, brick: int, x_NCHW: Tensor) -> Tensor:
    """The hidden channels of one brick at stride 1, after the papers."""
    kind, size = block.spec.kind, block.spec.brick_filters
    mine = slice(brick * size, (brick + 1) * size)
    first = F.relu(normalised(block.norm_first, F.conv2d(x_NCHW, block.w_first[mine], padding="same"), mine))
    if kind is BlockKind.FUSED:
        return first
    depthwise = F.conv2d(first, block.w_depthwise[mine], padding="same", groups=size)
    y_NCHW = normalised(block.norm_depthwise, depthwise, mine)
    if kind is BlockKind.REPGHOST:
        return F.relu(y_NCHW + normalised(block.norm_identity, first, mine))
    return torch.cat([first, F.relu(y_NCHW)], 1) if kind is BlockKind.GHOST else F.relu(y_NCHW)


def projection_of_brick(block: Block, brick: int) -> Tensor:
    size, filters = block.spec.brick_filters, len(block.w_first)
    starts = [brick * size, filters + brick * size] if block.spec.kind is BlockKind.GHOST else [brick * size]
    return torch.cat([block.w_project[:, start : start + size] for start in starts], 1)


def eca(block: Block, y_NCHW: Tensor) -> Tensor:
    """A one-dimensional convolution over the means of the channels, for each half of a ghost brick by itself."""
    runs = y_NCHW.mean((2, 3)).split(block.spec.brick_filters, 1)
    w = block.attention.w.flatten()[None, None]
    gates = [F.conv1d(run[:, None], w, padding=1).sigmoid()[:, 0] for run in runs]
    return y_NCHW * torch.cat(gates, 1)[:, :, None, None]


@pytest.mark.parametrize("attention", [Attention.NONE, Attention.ECA])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("kind", BlockKind)
def test_a_block_is_the_sum_of_its_bricks(kind: BlockKind, kernel: int, attention: Attention) -> None:
    made = alone(kind, kernel=kernel, attention=attention)
    x_NCHW = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    for bricks in [(1,), (0, 2), (0, 1, 2)]:
        total = torch.zeros(())
        for brick in bricks:
            y_NCHW = hidden_of_brick(made, brick, x_NCHW)
            y_NCHW = eca(made, y_NCHW) if attention is Attention.ECA else y_NCHW
            total = total + F.conv2d(y_NCHW, projection_of_brick(made, brick))
        expected = made.norm_project(total, len(bricks))
        torch.testing.assert_close(made(x_NCHW, bricks), expected, rtol=1e-4, atol=1e-4)


def test_se_weighs_channels_by_two_dense_layers_on_their_means() -> None:
    made = alone(BlockKind.FUSED, attention=Attention.SE)
    x_NCHW = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    y_NCHW = torch.cat([hidden_of_brick(made, brick, x_NCHW) for brick in (0, 2)], 1)
    columns = [*range(8), *range(16, 24)]
    se = made.attention
    squeezed = (y_NCHW.mean((2, 3)) @ se.w_reduce[:, columns, 0, 0].T + se.b_reduce).relu()
    z_NC = squeezed @ se.w_expand[columns, :, 0, 0].T + se.b_expand[columns]
    gates = ((z_NC + 3) / 6).clamp(0, 1)
    projected = F.conv2d(y_NCHW * gates[:, :, None, None], made.w_project[:, columns])
    torch.testing.assert_close(made(x_NCHW, (0, 2)), made.norm_project(projected, 2), rtol=1e-4, atol=1e-4)


def test_closed_bricks_leave_no_trace_in_attention() -> None:
    """Whatever a closed brick would compute, the open ones are weighed alike."""
    for attention in Attention:
        made = alone(GHOST, attention=attention)
        x_NCHW = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(1))
        before = made(x_NCHW, (0, 2), gated=True)
        made.w_first[4:8] *= 100
        torch.testing.assert_close(made(x_NCHW, (0, 2), gated=True), before, rtol=0, atol=0)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 1), (3, 1), (5, 1), (2, 2), (3, 2), (5, 2)])
def test_repghost_is_sliced_into_one_depthwise_convolution(kernel: int, stride: int) -> None:
    """Both branches and both normalisations, folded: a subnet has as many layers as one of inverted blocks."""
    layers = {}
    for kind in (BlockKind.INVERTED, REPGHOST):
        spec = SupernetSpec(
            image_sizes=(16,),
            stem_channels=6,
            blocks=(block(kind, 6, 6, 24, 3, kernel=kernel, stride=stride),),
            labels=4,
        )
        supernet = random_supernet(3, spec)
        subnet = slice_subnet(supernet, spec.full, TWO)
        x_NCHW = images(spec, spec.full, 5)
        difference = subnet.logits(x_NCHW) - supernet(x_NCHW, spec.full)[:, [0, 3]]
        assert difference.abs().max() <= 1e-5 * max(1.0, float(supernet(x_NCHW, spec.full).abs().max()))
        layers[kind] = [
            (type(layer), *(tuple(weight.shape) for weight in layer.parameters()))
            for layer in subnet.modules()
            if not list(layer.children())
        ]
    assert layers[REPGHOST] == layers[BlockKind.INVERTED]


@settings(deadline=None, max_examples=25)
@given(specs(), st.booleans())
def test_training_reaches_every_parameter(spec: SupernetSpec, training: bool) -> None:
    """Of the full network; rows of the normalisation of other counts of bricks belong to smaller ones."""
    torch.manual_seed(0)
    supernet = Supernet(spec).train(training)
    supernet(torch.rand(4, 3, 16, 16), spec.full).square().sum().backward()
    for name, parameter in supernet.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_supernet_of_mixed_bricks_learns() -> None:
    torch.manual_seed(0)
    supernet = Supernet(MIXED).train()
    optimizer = torch.optim.Adam(supernet.parameters(), lr=1e-2)
    x_NCHW, y_N = torch.rand(32, 3, 16, 16), torch.arange(32) % 7
    losses = []
    for _ in range(30):
        loss = sum(nn.functional.cross_entropy(supernet(x_NCHW, g), y_N) for g in (MIXED.full, MIXED.smallest))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit.assembler.training.optimizers import OptimizerKind, Optimizers

RATE = 0.01


def stepped(weight: nn.Parameter, gradient: torch.Tensor, kind: OptimizerKind, *, weight_decay: float) -> torch.Tensor:
    """How one step moves a parameter."""
    before = weight.detach().clone()
    weight.grad = gradient
    Optimizers([weight], kind, weight_decay=weight_decay).step(learning_rate=RATE)
    assert weight.grad is None
    return weight.detach() - before


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(8, 12, 3, 3), (64, 4, 1, 1), (16, 3, 5, 5)])
def test_muon_moves_a_kernel_equally_far_in_all_directions(shape: tuple[int, ...], memory_format: object) -> None:
    """Its gradient has one direction thirty times as steep as the next."""
    draw = torch.Generator().manual_seed(0)
    steep = torch.randn(shape[0], 1, generator=draw) @ torch.randn(1, shape[1] * shape[2] * shape[3], generator=draw)
    gradient = (torch.randn(shape, generator=draw) + 30 * steep.view(shape)).contiguous(memory_format=memory_format)  # type: ignore[call-overload]
    weight = nn.Parameter(torch.randn(shape, generator=draw).contiguous(memory_format=memory_format))  # type: ignore[call-overload]
    move = stepped(weight, gradient, OptimizerKind.MUON, weight_decay=0.0).flatten(1)
    lengths = torch.linalg.svdvals(move) / (RATE * 0.2 * max(move.shape) ** 0.5)
    assert lengths.max() < 1.4
    assert lengths.median() > 0.6
    assert (move * gradient.flatten(1)).sum() < 0


@pytest.mark.parametrize("kind", OptimizerKind)
def test_a_step_is_as_long_with_either(kind: OptimizerKind) -> None:
    draw = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.zeros(32, 16, 3, 3))
    move = stepped(weight, torch.randn(weight.shape, generator=draw), kind, weight_decay=0.0)
    root_mean_square = {OptimizerKind.ADAMW: RATE, OptimizerKind.MUON: 0.2 * RATE}[kind]
    assert move.square().mean().sqrt() == pytest.approx(root_mean_square, rel=0.25)


@pytest.mark.parametrize("shape", [(8,), (4, 8), (8, 1, 3, 3)])
def test_muon_leaves_all_but_dense_kernels_to_adamw(shape: tuple[int, ...]) -> None:
    gradient, weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)), torch.ones(shape)
    moves = [
        stepped(nn.Parameter(weight.clone()), gradient.clone(), kind, weight_decay=0.1)
        for kind in (OptimizerKind.MUON, OptimizerKind.ADAMW)
    ]
    assert torch.equal(*moves)


@pytest.mark.parametrize("kind", OptimizerKind)
def test_kernels_decay_and_nothing_else_does(kind: OptimizerKind) -> None:
    kernel, shift = nn.Parameter(torch.ones(4, 4, 3, 3)), nn.Parameter(torch.ones(4))
    assert (stepped(kernel, torch.zeros_like(kernel), kind, weight_decay=0.5) < 0).all()
    assert not stepped(shift, torch.zeros_like(shift), kind, weight_decay=0.5).any()


@pytest.mark.parametrize("kind", OptimizerKind)
def test_weights_without_a_gradient_stay(kind: OptimizerKind) -> None:
    """Bricks that no network of a step opened."""
    closed, opened = (nn.Parameter(torch.ones(4, 4, 3, 3)) for _ in range(2))
    optimizers = Optimizers([closed, opened], kind, weight_decay=0.5)
    for both in (True, False):
        closed.grad = torch.ones_like(closed) if both else None
        opened.grad = torch.ones_like(opened)
        before = closed.detach().clone()
        optimizers.step(learning_rate=RATE)
        assert torch.equal(closed, before) is not both

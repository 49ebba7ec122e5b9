"""Sparse training is masked training: the same numbers, in the memory and the operations of the kept weights."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from edgekit.pruning.masked_training import train_masked
from edgekit.pruning.masks import apply_masks, prunable
from edgekit.pruning.progressive import BLOCK, SHORTLIST, largest_gradients, largest_gradients_beside
from edgekit.pruning.sparse_training import convolution
from edgekit.pruning.sparse_training.layers import SparseConv2d
from edgekit.pruning.sparse_training.memory import LiveBytes, peak_bytes, resident_bytes
from edgekit.pruning.sparse_training.network import SparseNetwork
from edgekit.pruning.sparse_training.training import kept_weights, train_kept, train_sparse, write_back

Activation = Callable[[Tensor], Tensor]


class Residual(nn.Module):
    """Normalisation, a shortcut without a convolution, one with, a gate on the channels, and a sum in place."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 16, 5, padding=2, groups=8)
        self.bn2 = nn.BatchNorm2d(16)
        self.gate = nn.Conv2d(16, 16, 1)
        self.shortcut = nn.Conv2d(8, 16, 1)
        self.activation = activation(inplace=True)  # type: ignore[call-arg]
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(16, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.activation(self.bn(self.stem(x_NCHW)))
        x_NCHW = F.relu(self.bn1(self.conv1(x_NCHW)) + x_NCHW, inplace=True)
        y_NCHW = self.activation(self.bn2(self.depthwise(x_NCHW)))
        y_NCHW = y_NCHW * torch.sigmoid(self.gate(y_NCHW.mean((2, 3), keepdim=True)))
        y_NCHW += self.shortcut(x_NCHW)
        return self.linear(self.pool(y_NCHW).mean((2, 3)))


class Chain(nn.Module):
    """More blocks without a convolution on the shortcut than a recipe is deep, and an activation read where it was changed."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(8)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(4) for _ in range(8)])
        self.activation = nn.Hardswish(inplace=True)
        self.linear = nn.Linear(4, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = F.pad(x_NCHW, (0, 0, 0, 0, 0, 1))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            z_NCHW = norm(x_NCHW)
            # z is what the activation made of it, in place, in the sum as well.
            x_NCHW = conv(self.activation(z_NCHW)) + z_NCHW
        return self.linear(x_NCHW.mean((2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": lambda: Residual(nn.ReLU),
    "residual, hardswish": lambda: Residual(nn.Hardswish),
    "chain": Chain,
    "linear": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(300, 20), nn.BatchNorm1d(20), nn.SiLU(), nn.Dropout(0.0), nn.Linear(20, 5)
    ),
}


def masks_of(module: nn.Module, density: float = 0.3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(one.shape, generator=generator) < density for name, one in prunable(module).items()}


def batch(number: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(number, 3, 10, 10, generator=generator, dtype=dtype),
        torch.randint(0, 5, (number,), generator=generator),
    )


def recorded(losses: list[float], x_N: Tensor, y_N: Tensor) -> Callable[[nn.Module], Tensor]:
    def loss_of(module: nn.Module) -> Tensor:
        loss = F.cross_entropy(module(x_N), y_N)
        losses.append(loss.item())
        return loss

    return loss_of


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[request.param]()


@pytest.mark.parametrize("piece", [convolution.PIECE, 300])
def test_training_is_that_of_dense_kernels_under_the_mask(
    network: nn.Module, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision, where the order of sums is no excuse; twice, the second time with the momenta of the first."""
    monkeypatch.setattr(convolution, "PIECE", piece)
    dense, sparse = network.double(), copy.deepcopy(network.double())
    masks = masks_of(dense)
    x_N, y_N = batch(12, torch.float64)
    seen: tuple[list[float], list[float]] = ([], [])
    momenta: list[dict[str, Tensor]] = []
    for train, module, losses in zip((train_masked, train_sparse), (dense, sparse), seen, strict=True):
        first = train(module, masks, {}, [(0.1, recorded(losses, x_N, y_N))] * 3)
        momenta.append(train(module, masks, first, [(0.05, recorded(losses, x_N, y_N))] * 3))
        assert not module.training
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dict(sparse.state_dict()), dict(dense.state_dict()), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(momenta[1], momenta[0], rtol=1e-9, atol=1e-9)


def test_in_single_precision_it_differs_as_the_order_of_samples_does(network: nn.Module) -> None:
    masks = masks_of(network)
    x_N, y_N = batch(12)
    dense, turned, sparse = (copy.deepcopy(network) for _ in range(3))
    train_masked(dense, masks, {}, [(0.1, recorded([], x_N, y_N))] * 4)
    train_masked(turned, masks, {}, [(0.1, recorded([], x_N.flip(0), y_N.flip(0)))] * 4)
    train_sparse(sparse, masks, {}, [(0.1, recorded([], x_N, y_N))] * 4)

    def apart(module: nn.Module) -> float:
        return max(
            float((a - b).detach().abs().max()) for a, b in zip(module.parameters(), dense.parameters(), strict=True)
        )

    assert apart(sparse) <= 10 * apart(turned) + 1e-6


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_of_any_geometry_outputs_and_gradients_are_those_of_the_dense_layer(data: st.DataObject) -> None:
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    mode = draw(st.sampled_from(["zeros", "zeros", "circular", "reflect"]))
    padding: object = draw(st.one_of(st.just("same"), st.tuples(st.integers(0, 3), st.integers(0, 3))))
    stride = (1, 1) if padding == "same" else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    torch.manual_seed(draw(st.integers(0, 1000)))
    layer = nn.Conv2d(
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        kernel,
        stride,
        padding,  # type: ignore[arg-type]
        dilation,
        groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    ).double()
    size = [(one - 1) * far + 1 + draw(st.integers(0, 5)) for one, far in zip(kernel, dilation, strict=True)]
    if mode != "zeros":
        size = [one + 3 for one in size]
    x_NCHW = torch.randn(draw(st.integers(1, 4)), layer.in_channels, *size, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(layer.weight.shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    apply_masks(layer, {"weight": mask})
    sparse = SparseConv2d(layer, kept_weights(layer, {"weight": mask})["weight"])
    assert torch.equal(sparse.positions(), mask.flatten().nonzero().flatten())
    y_NOHW = layer(x_NCHW)
    gradient_NOHW = torch.randn_like(y_NOHW)
    whole = torch.autograd.grad(y_NOHW, [x_NCHW, *layer.parameters()], gradient_NOHW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "PIECE", draw(st.sampled_from([1, 50, 500, convolution.PIECE])))
        found_NOHW = sparse(x_NCHW)
        found = torch.autograd.grad(found_NOHW, [x_NCHW, *sparse.parameters()], gradient_NOHW)
    torch.testing.assert_close(found_NOHW, y_NOHW)
    torch.testing.assert_close(found[0], whole[0])
    torch.testing.assert_close(found[1], whole[1].flatten()[sparse.positions()])
    torch.testing.assert_close(found[2:], whole[2:])


def test_every_multiplication_is_counted(network: nn.Module) -> None:
    """With all weights kept, those of dense kernels as torch counts them; with fewer, fewer in proportion."""
    x_N, y_N = batch(4)
    x_N.requires_grad_()
    with FlopCounterMode(display=False) as forward:
        network(x_N)
    whole, third = (SparseNetwork(network, kept_weights(network, masks_of(network, density))) for density in (2, 0.3))
    for sparse in (whole, third):
        F.cross_entropy(sparse(x_N), y_N).backward()
    # Back, torch counts those of grouped convolutions too high: they are as many again for the input and for the weight.
    assert whole.executed_macs == 3 * forward.get_total_flops() // 2
    assert 0.2 < third.executed_macs / whole.executed_macs < 0.4


def test_no_dense_weight_gradient_or_momentum_is_ever_made() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(2000, 2000), nn.ReLU(), nn.Linear(2000, 2000))
    kept = {
        name: kept_weights(nn.Linear(2000, 2000), {"weight": torch.rand(2000, 2000) < 0.01})["weight"]
        for name in ("0.weight", "2.weight")
    }
    for layer in (module[0], module[2]):
        layer.bias = nn.Parameter(torch.zeros(2000))
    x_NI = torch.randn(4, 2000)
    with LiveBytes() as memory:
        sparse = SparseNetwork(module, kept)
        train_kept(sparse, {}, [(0.1, lambda one: one(x_NI).square().mean())] * 2)
    assert memory.peak < 2000 * 2000 * 4 / 4


def test_a_loss_in_parts_is_the_loss_where_normalisation_is_of_samples_alone() -> None:
    """And holds the activations of one part only."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5)).double()
    parted = copy.deepcopy(whole)
    masks = masks_of(whole)
    x_N, y_N = batch(16, torch.float64)

    def parts(module: nn.Module) -> Iterator[Tensor]:
        for x_M, y_M in zip(x_N.split(2), y_N.split(2), strict=True):
            yield F.cross_entropy(module(x_M), y_M) * len(x_M) / len(x_N)

    with LiveBytes() as one:
        train_sparse(whole, masks, {}, [(0.1, recorded([], x_N, y_N))] * 3)
    with LiveBytes() as other:
        train_sparse(parted, masks, {}, [(0.1, parts)] * 3)
    torch.testing.assert_close(dict(parted.state_dict()), dict(whole.state_dict()), rtol=1e-9, atol=1e-9)
    assert other.peak < one.peak / 2


def test_parts_in_training_mode_are_normalised_each_by_itself_as_dense_parts_are() -> None:
    torch.manual_seed(0)
    dense = Residual(nn.ReLU).double()
    sparse = copy.deepcopy(dense)
    masks = masks_of(dense)
    x_N, y_N = batch(12, torch.float64)

    def parts(module: nn.Module) -> Iterator[Tensor]:
        for x_M, y_M in zip(x_N.split(4), y_N.split(4), strict=True):
            yield F.cross_entropy(module(x_M), y_M) / 3

    train_masked(dense, masks, {}, [(0.1, parts)] * 3)
    train_sparse(sparse, masks, {}, [(0.1, parts)] * 3)
    torch.testing.assert_close(dict(sparse.state_dict()), dict(dense.state_dict()), rtol=1e-9, atol=1e-9)


def test_what_is_kept_for_the_way_back_is_one_tensor_a_convolution() -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Hardswish()) for _ in range(6)]
    module = nn.Sequential(*layers)
    sparse = SparseNetwork(module, kept_weights(module, masks_of(module)))
    x_NCHW = torch.randn(8, 16, 16, 16)
    with LiveBytes() as dense_memory:
        y_NCHW = module(x_NCHW)
        dense_live = dense_memory.live
    del y_NCHW
    with LiveBytes() as memory:
        y_NCHW = sparse(x_NCHW)
        live = memory.live
    del y_NCHW
    assert 7 * x_NCHW.nbytes <= live < 7.1 * x_NCHW.nbytes
    assert dense_live > 17 * x_NCHW.nbytes, "the meter sees what autograd saved"


@pytest.mark.parametrize("kept", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("number", [2, 16])
def test_the_peak_is_foretold(network: nn.Module, kept: bool, number: int) -> None:
    masks = masks_of(network)
    counts = {name: int(mask.sum()) for name, mask in masks.items()} if kept else None

    def loss_of(module: nn.Module) -> Tensor:
        loss: Tensor = module(torch.randn(number, 3, 10, 10)).sum()
        return loss

    module = SparseNetwork(network, kept_weights(network, masks)) if kept else network
    with LiveBytes() as memory:
        if isinstance(module, SparseNetwork):
            train_kept(module, {}, [(0.1, loss_of)] * 2)
        else:
            train_masked(module, {}, {}, [(0.1, loss_of)] * 2)
    measured = memory.peak + resident_bytes(module)
    assert peak_bytes(network, (3, 10, 10), number, kept=counts) == pytest.approx(measured, rel=0.02)


@settings(max_examples=8, deadline=None)
@given(st.integers(200, 900), st.integers(200, 900), st.integers(1, 200), st.integers(1, 4))
def test_an_adjustment_is_bounded_by_what_is_grown_and_one_mini_batch(
    inputs: int, outputs: int, count: int, number: int
) -> None:
    """Extra memory within c * k * 8 bytes, c = 8 * SHORTLIST, k at least a piece of the stream; and the activations."""
    layer = nn.Sequential(nn.Linear(inputs, outputs))
    masks = {"0.weight": torch.rand(outputs, inputs) < 0.01}
    sparse = SparseNetwork(layer, kept_weights(layer, masks))
    x_NI = torch.randn(4, inputs)
    active = {"0.weight": sparse.kept()["0.weight"].index_A}
    some = [lambda module: module(x_NI).square().mean() for _ in range(number)]
    with LiveBytes() as memory:
        found = largest_gradients_beside(sparse, active, {"0.weight": count}, some)
    activations = 4 * 4 * (inputs + 8 * outputs) + 2 * 4 * convolution.PIECE
    assert memory.peak <= activations + 8 * 8 * (SHORTLIST * count + max(BLOCK, inputs))
    apply_masks(layer, masks)
    expected = largest_gradients(layer, masks, {"0.weight": count}, some)
    torch.testing.assert_close(found["0.weight"].value_A, expected["0.weight"].value_A, rtol=1e-4, atol=1e-7)


def test_gradients_beside_the_kept_weights_are_those_of_the_dense_network(network: nn.Module) -> None:
    network = network.double()
    masks = masks_of(network)
    sparse = SparseNetwork(network, kept_weights(network, masks))
    apply_masks(network, masks)
    x_N, y_N = batch(6, torch.float64)
    some = [recorded([], x_N, y_N), recorded([], x_N.flip(2), y_N)]
    counts = {name: min(5, int((~mask).sum())) for name, mask in masks.items()}
    expected = largest_gradients(network, masks, counts, some)
    found = largest_gradients_beside(sparse, {name: one.index_A for name, one in sparse.kept().items()}, counts, some)
    for name, one in expected.items():
        torch.testing.assert_close(found[name].index_A, one.index_A)
        torch.testing.assert_close(found[name].value_A, one.value_A)


RESIDENT = """
import torch
from pathlib import Path
from edgekit.pruning.sparse_training.memory import LiveBytes
def resident(field):
    return 1024 * next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(field))
def step(n):
    x = torch.randn(n, 64, 32, 32, requires_grad=True)
    (x * x).relu().sin().sum().backward()
torch.set_num_threads(1)
with LiveBytes():
    step(1)
before = resident("VmRSS:")
Path("/proc/self/clear_refs").write_text("5")
with LiveBytes() as memory:
    step(200)
print(memory.peak, resident("VmHWM:") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not tell the resident set")
def test_the_meter_sees_what_the_process_holds() -> None:
    result = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True)
    metered, resident = map(int, result.stdout.split())
    assert metered > 200 * 64 * 32 * 32 * 4 * 4
    assert resident == pytest.approx(metered, rel=0.05)


def test_layers_that_share_a_weight_go_on_sharing_it() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)).double()
    dense[2].weight = dense[0].weight
    sparse = copy.deepcopy(dense)
    masks = masks_of(dense)
    x_NI = torch.randn(5, 6, dtype=torch.float64)
    train_masked(dense, masks, {}, [(0.1, lambda module: module(x_NI).square().mean())] * 3)
    train_sparse(sparse, masks, {}, [(0.1, lambda module: module(x_NI).square().mean())] * 3)
    assert sparse[2].weight is sparse[0].weight
    torch.testing.assert_close(dict(sparse.state_dict()), dict(dense.state_dict()))


def test_a_network_is_made_and_written_back_without_a_change(network: nn.Module) -> None:
    masks = masks_of(network)
    sparse = SparseNetwork(network, kept_weights(network, masks)).eval()
    apply_masks(network, masks)
    x_N, _ = batch(3)
    before = copy.deepcopy(network.eval()).state_dict()
    torch.testing.assert_close(sparse(x_N), network(x_N))
    with torch.no_grad():
        for name in masks:
            network.get_parameter(name).fill_(7.0)
    write_back(sparse, network)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())

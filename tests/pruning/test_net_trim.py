"""The program of Net-Trim on one layer: against a general convex solver, and its promises."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.pruning.net_trim.admm import Admm
from edgekit.pruning.net_trim.certificate import certify
from edgekit.pruning.net_trim.layer import How, Repair, blended, prices, refitted, repaired, trim, trim_to_sparsity
from edgekit.pruning.net_trim.layer import Trimmed as TrimmedLayer
from edgekit.pruning.net_trim.matrices import inputs_at, matrix_of, outputs_at, positions_of, set_matrix
from edgekit.pruning.net_trim.samples import Block, Samples


def layer_of(inputs: int, neurons: int, samples: int, *, relu: bool, seed: int = 0) -> tuple[Block, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing_NN = torch.eye(inputs) + torch.randn(inputs, inputs, generator=generator) / inputs**0.5
    x_PN = (torch.randn(samples, inputs, generator=generator) @ mixing_NN).clamp(min=0)
    w_NM = torch.randn(inputs, neurons, generator=generator) / inputs**0.5
    y_PM = x_PN @ w_NM
    on_PM = y_PM > 1e-6 if relu else torch.ones_like(y_PM, dtype=torch.bool)
    return Block(x_PN=x_PN, bound_PM=torch.where(on_PM, y_PM, 0.0), on_PM=on_PM), w_NM


def cut(block: Block, size: int) -> list[Block]:
    parts = zip(block.x_PN.split(size), block.bound_PM.split(size), block.on_PM.split(size), strict=True)
    return [Block(x_PN=x_PN, bound_PM=bound_PM, on_PM=on_PM) for x_PN, bound_PM, on_PM in parts]


def by_clarabel(block: Block, eps: float) -> float:
    """The least 1-norm of neurons' weights, by an interior-point method on the program written out."""
    import clarabel
    from scipy import sparse

    x_PN, bound_PM, on_PM = block.x_PN.double().numpy(), block.bound_PM.double().numpy(), block.on_PM.numpy()
    inputs, neurons = x_PN.shape[1], bound_PM.shape[1]
    size = inputs * neurons
    every = np.kron(np.eye(neurons), x_PN)
    on, bound = on_PM.T.ravel(), bound_PM.T.ravel()
    one, zero = np.eye(size), np.zeros
    rows = np.block(
        [
            [one, -one],
            [-one, -one],
            [every[~on], zero((int((~on).sum()), size))],
            [zero((1, 2 * size))],
            [every[on], zero((int(on.sum()), size))],
        ]
    )
    cones = [
        clarabel.NonnegativeConeT(2 * size + int((~on).sum())),
        clarabel.SecondOrderConeT(1 + int(on.sum())),
    ]
    settings_ = clarabel.DefaultSettings()
    settings_.verbose = False
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix((2 * size, 2 * size)),
        np.concatenate([zero(size), np.ones(size)]),
        sparse.csc_matrix(rows),
        np.concatenate([zero(2 * size), bound[~on], [eps], bound[on]]),
        cones,
        settings_,
    )
    return float(np.abs(np.asarray(solver.solve().x)[:size]).sum())


@settings(max_examples=6, deadline=None)
@given(
    inputs=st.integers(3, 14),
    neurons=st.integers(1, 4),
    relu=st.booleans(),
    gain=st.sampled_from([0.02, 0.1, 0.3]),
    seed=st.integers(0, 99),
)
def test_the_objective_is_that_of_a_general_solver(
    inputs: int, neurons: int, relu: bool, gain: float, seed: int
) -> None:
    block, w_NM = layer_of(inputs, neurons, 60, relu=relu, seed=seed)
    samples = Samples([block])
    eps = gain * samples.on_norm
    trimmed = trim(samples, w_NM, eps)
    assert trimmed.certified
    assert float(trimmed.u_NM.abs().sum()) == pytest.approx(by_clarabel(block, eps), rel=1e-3, abs=1e-6)
    assert float(trimmed.u_NM.abs().sum()) <= float(w_NM.abs().sum()) * (1 + 1e-4)


@pytest.mark.parametrize("relu", [True, False])
def test_a_certificate_tells_the_truth(relu: bool) -> None:
    block, w_NM = layer_of(20, 6, 300, relu=relu)
    samples = Samples(cut(block, 70))
    eps = 0.1 * samples.on_norm
    trimmed = trim(samples, w_NM, eps)
    z_PM = block.x_PN.double().numpy() @ trimmed.u_NM.numpy()
    on_PM, target_PM = block.on_PM.numpy(), block.bound_PM.double().numpy()
    ratio = np.linalg.norm((z_PM - target_PM)[on_PM]) / eps
    excess = np.linalg.norm(np.maximum(z_PM, 0)[~on_PM]) / np.linalg.norm(target_PM[on_PM])
    assert trimmed.program.ratio == pytest.approx(ratio, rel=1e-9)
    assert trimmed.program.relative_excess == pytest.approx(excess, abs=1e-9)
    assert ratio <= 1.001
    assert excess <= 1e-3
    outputs_PM = np.maximum(target_PM, 0) if relu else target_PM
    off = np.linalg.norm((np.maximum(z_PM, 0) if relu else z_PM) - outputs_PM)
    assert off <= eps * trimmed.program.output_ratio * (1 + 1e-9)
    assert 0.05 < trimmed.sparsity < 0.95


def test_a_solution_trimmed_again_for_the_same_target_stays() -> None:
    block, w_NM = layer_of(20, 6, 300, relu=True)
    samples = Samples([block])
    once = trim(samples, w_NM, 0.1 * samples.on_norm)
    twice = trim(samples, once.u_NM, 0.1 * samples.on_norm)
    assert float(twice.u_NM.abs().sum()) == pytest.approx(float(once.u_NM.abs().sum()), rel=1e-3)
    assert float(((once.u_NM != 0) == (twice.u_NM != 0)).double().mean()) > 0.97


def test_a_sparse_layer_is_found_from_its_outputs() -> None:
    """Where few weights make the outputs, few samples tell which (the paper's theorem)."""
    block, _w_NM = layer_of(60, 5, 50, relu=False)
    generator = torch.Generator().manual_seed(1)
    sparse_NM = torch.randn(60, 5, generator=generator) * (torch.rand(60, 5, generator=generator) < 0.08)
    dense_NM = sparse_NM + torch.linalg.svd(block.x_PN, full_matrices=True).Vh[50:55].T  # the same outputs
    y_PM = block.x_PN @ sparse_NM
    samples = Samples([Block(x_PN=block.x_PN, bound_PM=y_PM, on_PM=torch.ones_like(y_PM, dtype=torch.bool))])
    found = trim(samples, dense_NM, 0.001 * samples.on_norm)
    assert int(((found.u_NM.abs() > 0.02) != (sparse_NM.abs() > 0.02)).sum()) == 0


def test_samples_in_blocks_and_in_a_folder_give_the_same(tmp_path: Path) -> None:
    block, w_NM = layer_of(15, 4, 200, relu=True)
    how = How(refit=True, reweightings=1)
    whole, cut_up, on_disk = (
        trim(samples, w_NM, 0.2 * samples.on_norm, how=how)
        for samples in (Samples([block]), Samples(cut(block, 30)), Samples(cut(block, 30), folder=tmp_path))
    )
    torch.testing.assert_close(whole.u_NM, cut_up.u_NM, rtol=0, atol=2e-3)
    assert torch.equal(cut_up.u_NM, on_disk.u_NM)


def test_a_sparsity_is_reached_and_a_refit_comes_closer() -> None:
    block, w_NM = layer_of(40, 10, 500, relu=True)
    samples = Samples([block])
    for sparsity in (0.5, 0.8):
        plain = trim_to_sparsity(samples, w_NM, sparsity)
        fitted = refitted(samples, plain)
        assert plain.sparsity == pytest.approx(sparsity, abs=0.03)
        assert plain.certified
        assert torch.equal(fitted.u_NM != 0, plain.u_NM != 0)
        assert fitted.certificate.output_ratio < 0.9 * plain.certificate.output_ratio


def test_a_reweighted_norm_comes_closer_with_as_many_weights() -> None:
    block, w_NM = layer_of(40, 10, 500, relu=True)
    samples = Samples([block])
    errors = [trim_to_sparsity(samples, w_NM, 0.6, how=How(reweightings=number)).program.eps for number in (0, 1, 2)]
    assert all(later < earlier for earlier, later in pairwise(errors))


def test_forbidden_weights_stay_zero() -> None:
    block, w_NM = layer_of(20, 6, 300, relu=True)
    allowed_NM = torch.rand(20, 6, generator=torch.Generator().manual_seed(2)) < 0.5
    w_NM = w_NM * allowed_NM
    y_PM = block.x_PN @ w_NM
    block = Block(x_PN=block.x_PN, bound_PM=y_PM.clamp(min=0), on_PM=y_PM > 0)
    samples = Samples([block])
    trimmed = trim(samples, w_NM, 0.05 * samples.on_norm, how=How(refit=True), allowed_NM=allowed_NM)
    assert trimmed.certified
    assert not bool((trimmed.u_NM != 0)[~allowed_NM].any())


def test_a_solution_that_fails_its_certificate_is_repaired() -> None:
    block, w_NM = layer_of(30, 8, 400, relu=True)
    samples = Samples([block])
    eps = 0.1 * samples.on_norm
    hasty = trim(samples, w_NM, eps, how=How(iterations=2))
    assert hasty.certified
    assert hasty.repair is not Repair.NONE

    bad_NM = torch.zeros_like(w_NM)
    failed = certify(samples, bad_NM, eps)
    assert not failed.holds
    broken = TrimmedLayer(u_NM=bad_NM, certificate=failed, program=failed, iterations=0)
    again = repaired(Admm(samples, start_NM=bad_NM), broken, w_NM, How())
    assert again.certified
    assert again.repair is Repair.PENALTY
    blend = blended(samples, bad_NM, w_NM, eps)
    assert blend.certified
    assert blend.refilled == w_NM.numel()


def test_weights_that_are_not_numbers_are_never_certified() -> None:
    block, w_NM = layer_of(5, 2, 40, relu=True)
    samples = Samples([block])
    assert not certify(samples, torch.full_like(w_NM, torch.nan), samples.on_norm).holds


def test_a_layer_that_answers_nothing_is_certified_with_no_weights() -> None:
    block, w_NM = layer_of(5, 2, 40, relu=True)
    dead = Block(x_PN=block.x_PN, bound_PM=torch.zeros_like(block.bound_PM), on_PM=torch.zeros_like(block.on_PM))
    trimmed = trim(Samples([dead]), -w_NM.abs(), 0.0)
    assert trimmed.certified
    assert trimmed.sparsity == 1.0


def test_prices_favour_what_is_large() -> None:
    price = prices(torch.tensor([[0.0, 0.1, 2.0]]))[0]
    assert price[0] > price[1] > price[2] > 0


@settings(max_examples=12, deadline=None)
@given(
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.sampled_from([0, 1, "same"]),
    dilation=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_a_convolution_is_linear_on_patches(
    kernel: int, stride: int, padding: int | str, dilation: int, seed: int
) -> None:
    if padding == "same":
        stride = 1
    torch.manual_seed(seed)
    layer = nn.Conv2d(3, 5, kernel, stride, padding, dilation=dilation)
    x_NCHW = torch.randn(4, 3, 9, 8)
    y_NCHW = layer(x_NCHW).detach()
    at_NS = torch.stack([torch.randperm(positions_of(layer, y_NCHW))[:6] for _ in range(4)])
    rows_PM = inputs_at(layer, x_NCHW, at_NS) @ matrix_of(layer).float() + layer.bias.detach()
    torch.testing.assert_close(rows_PM, outputs_at(layer, y_NCHW, at_NS), rtol=1e-5, atol=1e-5)
    set_matrix(layer, 2 * matrix_of(layer))
    torch.testing.assert_close(layer(x_NCHW) - layer.bias[:, None, None], 2 * (y_NCHW - layer.bias[:, None, None]))


_CHILD = """
import resource, sys, torch
from pathlib import Path
from edgekit.pruning.net_trim.layer import How, trim
from edgekit.pruning.net_trim.samples import Block, Samples
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
w_NM = torch.randn(60, 5, generator=generator)
def blocks():
    for _ in range(int(sys.argv[1]) // 10_000):
        x_PN = torch.randn(10_000, 60, generator=generator).clamp(min=0)
        y_PM = x_PN @ w_NM
        yield Block(x_PN=x_PN, bound_PM=y_PM.clamp(min=0), on_PM=y_PM > 0)
samples = Samples(blocks(), folder=Path(sys.argv[2]))
trimmed = trim(samples, w_NM, 0.2 * samples.on_norm, how=How(tolerance=1e-3))
assert trimmed.certified and len(samples) == int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_mib(samples: int, folder: Path) -> float:
    folder.mkdir()
    answer = subprocess.run(
        [sys.executable, "-c", _CHILD, str(samples), str(folder)], check=True, capture_output=True, text=True
    )
    return float(answer.stdout)


def test_ten_times_the_samples_need_no_more_memory(tmp_path: Path) -> None:
    """In memory 90,000 more samples would be 27 MiB."""
    assert peak_mib(100_000, tmp_path / "many") - peak_mib(10_000, tmp_path / "few") < 14


@pytest.mark.slow
def test_a_million_samples_need_no_more_memory_than_ten_thousand(tmp_path: Path) -> None:
    """In memory they would be 300 MiB more."""
    assert peak_mib(1_000_000, tmp_path / "many") - peak_mib(10_000, tmp_path / "few") < 30

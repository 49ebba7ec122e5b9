"""Normalisation in training, on one process and on several, in float32 and in bfloat16."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F  # noqa: N812

from edgekit.supernet.batch_norm import batch_norm

# Each of two processes normalises its half of the batch; the loss is the mean over both of what each makes of its half.
HALF = """
import os
import sys
from safetensors.torch import load_file, save_file
import torch
import torch.distributed as dist

from edgekit.supernet.batch_norm import batch_norm

dist.init_process_group("gloo")
given = load_file(sys.argv[1])
x = given["x"].chunk(2)[dist.get_rank()].clone().requires_grad_()
gamma, beta = (given[name].requires_grad_() for name in ("gamma", "beta"))
mean, var = given["mean"], given["var"]
y = batch_norm(x, mean, var, gamma, beta, True, 0.1)
(y * given["upstream"].chunk(2)[dist.get_rank()]).sum().backward()
rounded = x.detach().bfloat16()
low, high = (batch_norm(z, mean.clone(), var.clone(), gamma, beta, True, 0.1) for z in (rounded, rounded.float()))
assert low.dtype == torch.bfloat16
torch.testing.assert_close(low.float(), high, rtol=0.01, atol=0)
found = {"y": y.detach(), "x": x.grad, "gamma": gamma.grad, "beta": beta.grad, "mean": mean, "var": var}
save_file({name: tensor.contiguous() for name, tensor in found.items()}, sys.argv[2] + os.environ["RANK"])
dist.destroy_process_group()
"""


def test_halves_are_normalised_as_the_whole(tmp_path: Path) -> None:
    """Outputs, gradients and running statistics of two processes are those of torch on the whole batch."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    # The halves differ much, and the mean is large beside the spread.
    x = normal(6, 5, 4, 3) * torch.arange(1.0, 7)[:, None, None, None] + 30 * normal(5)[:, None, None]
    given = {"x": x, "gamma": normal(5), "beta": normal(5), "mean": normal(5), "var": normal(5).exp()}
    save_file(given | {"upstream": normal(*x.shape)}, tmp_path / "given")
    (tmp_path / "half.py").write_text(HALF)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, tmp_path / "half.py", tmp_path / "given", tmp_path / "found"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    whole = load_file(tmp_path / "given")
    for name in ("x", "gamma", "beta"):
        whole[name].requires_grad_()
    y = F.batch_norm(whole["x"], whole["mean"], whole["var"], whole["gamma"], whole["beta"], True, 0.1)
    (y * whole["upstream"]).sum().backward()
    first, second = (load_file(tmp_path / f"found{rank}") for rank in (0, 1))
    for name, expected in (("y", y), ("x", whole["x"].grad)):
        torch.testing.assert_close(torch.cat([first[name], second[name]]), expected, rtol=1e-4, atol=1e-5)
    for name in ("gamma", "beta"):
        torch.testing.assert_close(first[name] + second[name], whole[name].grad, rtol=1e-4, atol=1e-4)
    for name in ("mean", "var"):
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], whole[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_statistics_stay_in_float32(training: bool) -> None:
    x_NCHW = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    mean, var = torch.zeros(4), torch.ones(4)
    found = batch_norm(x_NCHW.bfloat16(), mean, var, torch.ones(4), torch.zeros(4), training, 0.5)
    assert found.dtype == torch.bfloat16
    assert mean.dtype == var.dtype == torch.float32
    expected = F.batch_norm(x_NCHW, torch.zeros(4), torch.ones(4), training=training)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05)
    torch.testing.assert_close(mean, 0.5 * training * x_NCHW.mean((0, 2, 3)), rtol=0, atol=5e-3)

from __future__ import annotations

import torch
from small_assemblers import SPEC

from edgekit.assembler.training.statistics import statistics_held
from edgekit.supernet.supernet import Supernet


def test_held_statistics_stay_while_networks_normalise_by_their_batch() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        supernet = Supernet(SPEC).train()
        x_NCHW = torch.rand(8, 3, SPEC.image_size, SPEC.image_size)
    before = {name: values.clone() for name, values in supernet.named_buffers()}
    with statistics_held(supernet):
        held_NK = supernet(x_NCHW, SPEC.full)
    assert all(torch.equal(values, before[name]) for name, values in supernet.named_buffers())
    assert torch.equal(supernet(x_NCHW, SPEC.full), held_NK)
    assert any(not torch.equal(values, before[name]) for name, values in supernet.named_buffers())

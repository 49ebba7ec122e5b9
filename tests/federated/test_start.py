"""The network a course begins with: what a supernet computes, in a form that clients can train and that travels as data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_supernet import LABELS

from edgekit.assembler.assembler import Assembler
from edgekit.core.errors import BadInputError, UsageError
from edgekit.federated.layout import Layout
from edgekit.federated.programs import keep_structure, read_program, structure_of
from edgekit.federated.start import start
from edgekit.pruning.batch_norm_selection import norms_of
from edgekit.pruning.masks import prunable
from edgekit.supernet.storage import open_supernet
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.task import Task


def test_it_answers_as_the_supernet_does_and_has_normalisation_again(tiny_supernet: Path) -> None:
    begin = start(model=tiny_supernet, task="all", genotype=None)
    folder = open_supernet(tiny_supernet)
    subnet = slice_subnet(
        Assembler.load(folder).supernet, folder.spec.full, Task(indices=tuple(range(len(LABELS))), text="all")
    )
    with torch.no_grad():
        x_NCHW = torch.rand(8, *begin.input_shape, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(begin.module(x_NCHW), subnet.logits(x_NCHW), atol=1e-4)
    convolutions = [one for one in begin.module.modules() if isinstance(one, torch.nn.Conv2d)]
    assert len(norms_of(begin.module)) == len(convolutions) > 3
    assert begin.labels == LABELS


def test_a_task_takes_its_labels_alone(tiny_supernet: Path) -> None:
    begin = start(model=tiny_supernet, task="red rows, blue columns", genotype=None)
    assert begin.labels == ("red rows", "blue columns")
    assert begin.module(torch.rand(2, *begin.input_shape)).shape == (2, 2)


@pytest.mark.parametrize("task", ["red rows, other", "nothing like it"])
def test_a_task_that_is_no_list_of_labels_is_refused(tiny_supernet: Path, task: str) -> None:
    with pytest.raises(UsageError):
        start(model=tiny_supernet, task=task, genotype=None)


def test_the_structure_travels_without_the_weights_to_prune(tiny_supernet: Path, tmp_path: Path) -> None:
    begin = start(model=tiny_supernet, task="all", genotype=None)
    content = structure_of(begin.module, begin.input_shape)
    assert len(content) < 4 * sum(weight.numel() for weight in prunable(begin.module).values())
    keep_structure(content, tmp_path / "network.pt2")
    there = read_program(tmp_path / "network.pt2")
    assert Layout.of(there) == Layout.of(begin.module)
    assert not any(weight.any() for weight in prunable(there).values())


@pytest.mark.parametrize("damage", ["", "size", "content", "cut"])
def test_a_structure_that_cannot_be_read_leaves_no_file(tiny_supernet: Path, tmp_path: Path, damage: str) -> None:
    begin = start(model=tiny_supernet, task="all", genotype=None)
    content = structure_of(begin.module, begin.input_shape)
    bad = {
        "": b"",
        "size": (1 << 40).to_bytes(8, "little") + content[8:],
        "content": content[:8] + bytes(len(content) - 8),
        "cut": content[: len(content) // 2],
    }[damage]
    with pytest.raises(BadInputError):
        keep_structure(bad, tmp_path / "network.pt2")
    assert not (tmp_path / "network.pt2").exists()

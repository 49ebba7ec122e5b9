"""Recipes that `edgekit compress` finds by itself: ResNet-20 for CIFAR-10, and the full signs43 supernet, at most 1.0 point lost.

    python benchmarks/recipes.py search NETWORK [--minutes M] [--found DIR]     # trains on a GPU where there is one
    python benchmarks/recipes.py report [--found DIR] [-o RESULT.json]

NETWORK is resnet20 or signs43. The search is that of the command: it learns from and decides by the training images alone. `report`
takes the fastest candidates of each search through folding, int8, export and verification, judges the files on images that no
search saw, and takes the next candidate where the floor is broken there, as the command does. ResNet-20 is judged on the last
1,000 of the 4,000 images; the published network was trained on all of them. signs43 is judged on its test images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from cifar10_resnet20 import LABELS, PREPROCESSING, images, resnet20
from harness import IMAGES, REPO_ROOT

from edgekit.core.model import Model, Preprocessing
from edgekit.networks.description import describe
from edgekit.networks.exported import exported
from edgekit.networks.lifting import lifted
from edgekit.passes.contract import Samples

NETWORKS: Final = ("resnet20", "signs43")
MAX_DROP, BAR_MACS = 1.0, 3.0
JUDGING = 0.15
FOUND = REPO_ROOT / ".recipes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A network with the images it learns from, decides by, and is judged on."""

    model: Model
    training: Samples
    judging: Samples
    evaluation: Samples


def resnet20_case() -> Case:
    learnt, judged = images()
    kept = round(JUDGING * len(learnt.x_NCHW))
    return Case(
        model=modelled(resnet20(), 32, LABELS, PREPROCESSING, None),
        training=Samples(x_N=learnt.x_NCHW[kept:], y_N=learnt.y_N[kept:]),
        judging=Samples(x_N=learnt.x_NCHW[:kept], y_N=learnt.y_N[:kept]),
        evaluation=Samples(x_N=judged.x_NCHW, y_N=judged.y_N),
    )


def signs43_case() -> Case:
    from edgekit.assembler.assembler import Assembler
    from edgekit.assembler.training.data import Dataset, read_parquet, split_by_group
    from edgekit.supernet.storage import open_supernet
    from edgekit.supernet.subnet import slice_subnet
    from edgekit.tasks.task import Task

    folder = open_supernet("signs43")
    labels = folder.vocabulary.labels
    task = Task(indices=tuple(range(len(labels))), text="all")
    subnet = slice_subnet(Assembler.load(folder).supernet, folder.spec.full, task)
    size = folder.spec.image_size

    def samples(dataset: Dataset) -> Samples:
        return Samples(x_N=torch.from_numpy(dataset.x_NCHW).float() / 255, y_N=torch.from_numpy(dataset.y_N))

    data = read_parquet(IMAGES / "signs43", "train", image_size=size, labels=len(labels))
    training, judging = split_by_group(data, held_out=JUDGING, seed=0)
    test = read_parquet(IMAGES / "signs43", "test", image_size=size, labels=len(labels))
    return Case(
        model=modelled(
            subnet, size, tuple(label.name for label in labels), Preprocessing(height=size, width=size), (0.0, 1.0)
        ),
        training=samples(training),
        judging=samples(judging),
        evaluation=samples(test),
    )


CASES: Final = {"resnet20": resnet20_case, "signs43": signs43_case}


def modelled(
    network: torch.nn.Module,
    size: int,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
    output_range: tuple[float, float] | None,
) -> Model:
    shape = (3, size, size)
    module = lifted(exported(network.eval(), shape))
    return Model(
        module=module,
        input_shape=shape,
        labels=labels,
        preprocessing=preprocessing,
        operators=describe(module, shape).operators,
        output_range=output_range,
    )

"""The network that a course begins with: a slice of a supernet, with normalisation that can learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from edgekit.assembler.assembler import Assembler
from edgekit.core.errors import UsageError
from edgekit.core.images import to_float
from edgekit.core.model import Preprocessing
from edgekit.federated.normalisation import with_normalisation
from edgekit.federated.programs import reread
from edgekit.pipeline.calibration_pictures import at_size
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import CALIBRATION, open_supernet
from edgekit.supernet.subnet import Subnet, slice_subnet
from edgekit.tasks.grammar import parse_task
from edgekit.tasks.task import Task, TaskKind
from edgekit.tasks.vocabulary import Vocabulary

ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """`module`: `x_NCHW` in [0, 1] -> logits of `labels`. `x_NCHW` are pictures that the supernet ships, of nobody's data;
    `indices` are the labels' numbers in the `vocabulary`."""

    module: fx.GraphModule
    labels: tuple[str, ...]
    indices: tuple[int, ...]
    vocabulary: Vocabulary
    input_shape: tuple[int, int, int]
    x_NCHW: Tensor
    origin: str


class _Logits(nn.Module):
    def __init__(self, subnet: Subnet) -> None:
        super().__init__()
        self.trunk, self.head = subnet.trunk, subnet.head

    def forward(self, x_NCHW: Tensor) -> Tensor:
        z_NK: Tensor = self.head(self.trunk(x_NCHW).mean((2, 3)))
        return z_NK


def start(*, model: str | Path, task: str, genotype: str | None) -> Start:
    """Of the supernet `model`, for labels that a task names one by one or `all`; the whole supernet without a genotype.

    Raises UsageError for an unknown supernet, task or genotype, and for a task that joins labels.
    """
    folder = open_supernet(model)
    vocabulary, spec = folder.vocabulary, folder.spec
    asked = _task(task, vocabulary)
    chosen = spec.full if genotype is None else Genotype.parse(genotype)
    assembler = Assembler.load(folder)
    subnet = slice_subnet(assembler.supernet, chosen, asked)
    size = spec.image_size_of(chosen)
    shipped_NHWC = folder.read_tensors(CALIBRATION)["x_NHWC"].numpy()
    pictures_NHWC = at_size(to_float(shipped_NHWC, Preprocessing(height=spec.image_size, width=spec.image_size)), size)
    x_NCHW = torch.from_numpy(pictures_NHWC).permute(0, 3, 1, 2).contiguous()
    module = with_normalisation(fx.symbolic_trace(_Logits(subnet).eval()), x_NCHW)
    return Start(
        module=reread(module, (3, size, size)),
        labels=asked.outputs(vocabulary),
        indices=asked.indices,
        vocabulary=vocabulary,
        input_shape=(3, size, size),
        x_NCHW=x_NCHW,
        origin=f"{folder.name} {chosen}, {task}",
    )


def _task(text: str, vocabulary: Vocabulary) -> Task:
    if text.strip() == ALL:
        return Task(indices=tuple(range(len(vocabulary))), text=ALL)
    task = parse_task(text, vocabulary)
    if task.kind is not TaskKind.CLASSIFY or task.sums is not None:
        raise UsageError(
            f'"{text}" joins labels into one output',
            hint='a course learns single labels: list them one by one, or give "all"',
        )
    return task

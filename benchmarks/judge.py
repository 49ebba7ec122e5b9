"""Measures genotypes of one supernet on the images that no training has seen."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from baselines.dense import all_of
from baselines.method import Problem
from harness import load_assembler
from numpy.typing import NDArray

from edgekit.assembler.training.data import read_parquet
from edgekit.core.budget import Budget, Share
from edgekit.core.images import to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import export
from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.resizing import resized
from edgekit.supernet.storage import CALIBRATION, SupernetFolder
from edgekit.supernet.subnet import Subnet, slice_subnet, task_probabilities
from edgekit.tasks.task import Task

IMAGES_AT_ONCE = 250
ASSEMBLIES = 5
SPLITS = ("validation", "test")

Pair = tuple[Genotype, Task]
Right = NDArray[np.bool_]


class Judge:
    """The images are those of `validation*.parquet`, or where there is none of `test*.parquet`; tasks are classifications."""

    def __init__(self, folder: SupernetFolder, data: Path) -> None:
        self.folder, self.spec = folder, folder.spec
        self.split = next((split for split in SPLITS if any(data.glob(f"{split}*.parquet"))), SPLITS[-1])
        dataset = read_parquet(data, self.split, image_size=self.spec.image_size, labels=self.spec.labels)
        self.x_NCHW, self.y_N = torch.from_numpy(dataset.x_NCHW), torch.from_numpy(dataset.y_N)
        self.assembler, self.cost_of = load_assembler(folder)
        self.everything = all_of(self.spec)

    def problem(self, task: Task, limit: float, seed: int) -> Problem:
        """`limit` is a share of the full supernet's MACs with this task's head."""
        tables = self.assembler.tables(task, self.cost_of)
        budget = Budget(macs=Share(fraction=limit)).resolve(tables.full)
        return Problem(task=task, budget=budget, tables=tables, seed=seed)

    def assembled(self, task: Task, limit: float, *, seed: int) -> tuple[Genotype, float]:
        """The assembler's answer, and the seconds from the task to its subnet: the median of several times."""
        times_s = []
        for _ in range(ASSEMBLIES):
            started = time.perf_counter()
            problem = self.problem(task, limit, seed)
            found = self.assembler.searcher.search(task, problem.budget, problem.tables, seed=seed)
            slice_subnet(self.assembler.supernet, found.genotype, task)
            times_s.append(time.perf_counter() - started)
        return found.genotype, median(times_s)

    def right(self, pairs: Iterable[Pair]) -> dict[Pair, Right]:
        """Of each genotype on each task: which images of the task's labels it answers rightly, in the data's order.

        A genotype's logits are computed once for all its tasks, on the images that any of them asks for: what slicing for
        each task would give, by `task_probabilities`.
        """
        tasks_of: dict[Genotype, list[Task]] = {}
        for genotype, task in dict.fromkeys(pairs):
            tasks_of.setdefault(genotype, []).append(task)
        found: dict[Pair, Right] = {}
        for genotype, tasks in tasks_of.items():
            asked = torch.isin(self.y_N, torch.tensor(sorted({index for task in tasks for index in task.indices})))
            subnet = slice_subnet(self.assembler.supernet, genotype, self.everything)
            z_NL = torch.zeros(len(self.y_N), self.spec.labels)
            z_NL[asked] = self._logits(subnet, self.x_NCHW[asked], self.spec.image_size_of(genotype))
            for task in tasks:
                mine = self._of(task)
                answers_N = task_probabilities(z_NL[mine], task).argmax(1)
                found[genotype, task] = (answers_N == self._answers(task)).numpy()
        return found

    def right_of_slice(self, genotype: Genotype, task: Task) -> Right:
        """The same by the subnet that a build slices for the task."""
        return self.right_of(
            slice_subnet(self.assembler.supernet, genotype, task), task, self.spec.image_size_of(genotype)
        )

    def right_of(self, subnet: Subnet, task: Task, image_size: int) -> Right:
        """Of any network whose outputs are the task's."""
        z_NK = self._logits(subnet, self.x_NCHW[self._of(task)], image_size)
        return (z_NK.argmax(1) == self._answers(task)).numpy()

    def right_of_file(self, genotype: Genotype, task: Task) -> tuple[Right, Artifact]:
        """Of the int8 file, calibrated with the supernet's own pictures; the file itself is gone."""
        size = self.spec.image_size_of(genotype)
        preprocessing = Preprocessing(height=size, width=size)
        model = Model(
            module=slice_subnet(self.assembler.supernet, genotype, task),
            input_shape=(3, size, size),
            labels=task.outputs(self.folder.vocabulary),
            preprocessing=preprocessing,
            operators=describe(self.spec, genotype, rows=len(task.indices), sums=None),
        )
        shipped_NHWC = self.folder.read_tensors(CALIBRATION)["x_NHWC"].numpy()
        calibration_NCHW = torch.from_numpy(to_float(shipped_NHWC, preprocessing)).permute(0, 3, 1, 2)
        x_NCHW = resized(self.x_NCHW[self._of(task)].float() / 255, size)
        with tempfile.TemporaryDirectory() as work:
            artifact = export(
                model,
                precision=Precision.INT8,
                calibration_N=_channels_last(resized(calibration_NCHW, size)),
                folder=Path(work),
            )
            outputs = run_in_subprocess(artifact.path, _channels_last(x_NCHW), timeout_s=600).outputs
        return outputs.argmax(1) == self._answers(task).numpy(), artifact

    @torch.inference_mode()
    def _logits(self, subnet: Subnet, x_NCHW: torch.Tensor, image_size: int) -> torch.Tensor:
        subnet = subnet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts = (resized(part.float() / 255, image_size) for part in torch.split(x_NCHW, IMAGES_AT_ONCE))
        return torch.cat([subnet.logits(part.contiguous(memory_format=torch.channels_last)) for part in parts])

    def _of(self, task: Task) -> torch.Tensor:
        return torch.isin(self.y_N, torch.tensor(task.indices))

    def _answers(self, task: Task) -> torch.Tensor:
        return torch.searchsorted(torch.tensor(task.indices), self.y_N[self._of(task)])


def _channels_last(x_NCHW: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(x_NCHW.permute(0, 2, 3, 1).numpy())

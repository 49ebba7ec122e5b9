"""Measurements kept beside the checkpoint, so that a training stopped after its last step does not measure twice."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgekit.assembler.training.measurements import Measurements, measure
from edgekit.core.records import write_bytes
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task

_COUNTS = ("right_PTL", "both_PTL", "full_right_TL", "images_L")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """`x_NCHW` float32 in [0, 1] and their labels; `origin` names what they were made of, and changes when that does."""

    x_NCHW: Tensor
    y_N: Tensor
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasurementStore:
    """Measures on `device`, with networks in bfloat16 where asked, or reads what was measured so before of the same weights,
    genotypes, tasks and pictures."""

    folder: Path
    bfloat16: bool
    device: torch.device

    def measured(
        self,
        name: str,
        supernet: Supernet,
        genes: tuple[tuple[int, ...], ...],
        tasks: tuple[Task, ...],
        pictures: Pictures,
        report: Callable[[int, int], None],
    ) -> Measurements:
        """Keeps one table a name. Raises BadInputError where nothing can be written."""
        path = self.folder / f"measured-{name}.safetensors"
        subject = _subject(supernet, genes, tasks, pictures) + ("-bfloat16" if self.bfloat16 else "")
        counts = _read(path, subject)
        if counts is not None:
            report(len(genes), len(genes))
            return Measurements(genes=genes, full_genes=supernet.spec.most_genes, tasks=tasks, **counts)
        measurements = measure(
            copy.deepcopy(supernet).to(self.device),
            genes,
            tasks,
            pictures.x_NCHW,
            pictures.y_N,
            report,
            bfloat16=self.bfloat16,
        )
        tables = {key: getattr(measurements, key).contiguous() for key in _COUNTS}
        write_bytes(path, save(tables, metadata={"subject": subject}))
        return measurements


def _subject(
    supernet: Supernet, genes: tuple[tuple[int, ...], ...], tasks: tuple[Task, ...], pictures: Pictures
) -> str:
    digest = hashlib.sha256(repr((supernet.spec, genes, tasks, pictures.origin)).encode())
    for tensor in supernet.state_dict().values():
        digest.update(tensor.detach().cpu().numpy().tobytes())
    digest.update(pictures.y_N.numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, subject: str) -> dict[str, Tensor] | None:
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("subject") != subject:
                return None
            return {key: file.get_tensor(key) for key in _COUNTS}
    except (OSError, SafetensorError):
        return None

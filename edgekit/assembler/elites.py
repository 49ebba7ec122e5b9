"""The archive of a supernet: the best genotype of every cell of speed and size, for families of tasks.

After MAP-Elites (arXiv 1504.04909). A task's family is how hard it is: the error that the half open supernet is predicted to
make on it. In this one figure the number of labels, their likeness, `other` and presence all meet, it can be had for any task
from one prediction, and it decides how much capacity pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BadInputError
from edgekit.core.records import write_bytes
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.storage import SupernetFolder

if TYPE_CHECKING:
    from edgekit.assembler.judge import Judge

ARCHIVE: Final = "archive.safetensors"
ANY_TASK: Final = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Elites:
    """E elites with their G genes; `family_E` is ANY_TASK, or 1 for the easiest tasks up to F + 1.

    `edges_F` are the errors, rising, that part the families. Prices are not kept: they are those of the target that asks.
    """

    genes_EG: NDArray[np.uint8]
    family_E: NDArray[np.uint8]
    edges_F: NDArray[np.float32]

    @classmethod
    def none(cls, spec: SupernetSpec) -> Elites:
        """Of a supernet without an archive."""
        return cls(
            genes_EG=np.empty((0, len(spec.most_genes)), np.uint8),
            family_E=np.empty(0, np.uint8),
            edges_F=np.empty(0, np.float32),
        )

    @classmethod
    def load(cls, folder: SupernetFolder) -> Elites:
        """None where the card names no archive. Raises BadInputError where it is missing, damaged, or of another supernet."""
        if ARCHIVE not in folder.card["sha256"]:
            return cls.none(folder.spec)
        arrays = {name: tensor.numpy() for name, tensor in folder.read_tensors(ARCHIVE).items()}
        fault = _fault(arrays, folder.spec)
        if fault:
            raise BadInputError(
                f"{folder.path / ARCHIVE} is not an archive of this supernet: {fault}",
                hint=f"write it again: edgekit models archive {folder.path}",
            )
        return cls(**arrays)

    def save(self, path: Path) -> None:
        from safetensors.numpy import save

        arrays = {"genes_EG": self.genes_EG, "family_E": self.family_E, "edges_F": self.edges_F}
        write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))

    def of_task(self, judge: Judge) -> NDArray[np.int64]:
        """Genes of the elites of the task's family and of any task."""
        family = self.family_of(hardness(judge))
        found: NDArray[np.int64] = self.genes_EG[(self.family_E == family) | (self.family_E == ANY_TASK)].astype(
            np.int64
        )
        return found

    def family_of(self, error: float) -> int:
        return 1 + int(np.searchsorted(self.edges_F, error))


def hardness(judge: Judge) -> float:
    """The error that the half open supernet is predicted to make."""
    half = (judge.most_genes + judge.least_genes) // 2
    return 1 - float(judge.accuracy(half[None])[0])


def _fault(arrays: Mapping[str, NDArray[Any]], spec: SupernetSpec) -> str | None:
    expected = {"genes_EG": ("uint8", 2), "family_E": ("uint8", 1), "edges_F": ("float32", 1)}
    found = {name: (str(array.dtype), array.ndim) for name, array in arrays.items()}
    if found != expected:
        return f"it holds {', '.join(sorted(arrays)) or 'nothing'}, expected {', '.join(expected)}"
    genes_EG, family_E, edges_F = (arrays[name] for name in expected)
    if genes_EG.shape != (len(family_E), len(spec.most_genes)):
        return f"{genes_EG.shape[0]} x {genes_EG.shape[1]} genes, expected {len(family_E)} x {len(spec.most_genes)}"
    if not ((genes_EG >= np.array(spec.least_genes)) & (genes_EG <= np.array(spec.most_genes))).all():
        return "some genes are not those of a subnet"
    if not ((family_E <= len(edges_F) + 1).all() and (np.diff(edges_F) >= 0).all()):
        return "its families do not fit together"
    return None

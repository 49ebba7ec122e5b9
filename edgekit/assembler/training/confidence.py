"""Fits how sure a supernet's networks are to how often they are right, on images that trained nothing."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from edgekit.assembler.confidence import Confidence
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.data import Dataset
from edgekit.supernet.resizing import resized
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task

NETWORKS, MOST_IMAGES, BATCH = 8, 4000, 250
LOG_SHARPNESS = (-3.0, 3.0)


def fit_confidence(supernet: Supernet, searcher: Searcher, held_out: Dataset, *, seed: int) -> Confidence:
    """One factor for all networks: the one that makes the images likeliest, over NETWORKS elites of the archive on all labels.

    One for each would promise more than it keeps: the factors of single networks differ by less than those of single tasks.
    """
    rng = np.random.default_rng(seed)
    chosen_N = np.sort(rng.permutation(len(held_out))[:MOST_IMAGES])
    x_NCHW, y_N = torch.from_numpy(held_out.x_NCHW[chosen_N]), torch.from_numpy(held_out.y_N[chosen_N])
    task = Task(indices=tuple(range(supernet.spec.labels)), text="")
    z_PNL = torch.stack([_logits(supernet, genes, task, x_NCHW) for genes in _elites(searcher, task)])
    repeated_N = y_N.repeat(len(z_PNL))

    def loss(log_sharpness: float) -> float:
        z_NL = z_PNL.flatten(0, 1) * float(np.exp(log_sharpness))
        return float(torch.nn.functional.cross_entropy(z_NL, repeated_N))

    best = minimize_scalar(loss, bounds=LOG_SHARPNESS, method="bounded")
    return Confidence(sharpness=float(np.exp(best.x)), images=len(y_N))


def _elites(searcher: Searcher, task: Task) -> NDArray[np.int64]:
    """From the least accurate to the most; the full network where there is no archive."""
    judge = searcher.judge_of(task)
    found = searcher.elites.of_task(judge)
    if not len(found):
        return np.array([searcher.spec.most_genes])
    order = np.argsort(judge.accuracy(found), kind="stable")
    spread = np.linspace(0, len(found) - 1, min(NETWORKS, len(found))).round().astype(int)
    chosen: NDArray[np.int64] = found[order[spread]]
    return chosen


@torch.inference_mode()
def _logits(supernet: Supernet, genes: NDArray[np.int64], task: Task, x_NCHW: Tensor) -> Tensor:
    spec = supernet.spec
    genotype = spec.genotype(genes.tolist())
    subnet = slice_subnet(supernet, genotype, task).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = (resized(part.float() / 255, spec.image_size_of(genotype)) for part in torch.split(x_NCHW, BATCH))
    return torch.cat([subnet.logits(part.contiguous(memory_format=torch.channels_last)) for part in parts])

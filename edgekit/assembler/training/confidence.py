"""Fits how sure a supernet's networks are to how often they are right, on images that trained nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from edgekit.assembler.confidence import Confidence, MeasuredShares, with_haze
from edgekit.assembler.judge import Judge
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.augmentation import Augmentation
from edgekit.assembler.training.data import Dataset
from edgekit.supernet.resizing import resized
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task

NETWORKS, MOST_IMAGES, BATCH = 8, 4000, 250
LOG_SHARPNESS = (-3.0, 3.0)
TASK_SIZES, TASKS_A_SIZE = (2, 5, 10, 20), 4
THRESHOLDS = np.array([0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])


def fit_confidence(
    supernet: Supernet, searcher: Searcher, held_out: Dataset, augmentation: Augmentation, *, seed: int
) -> Confidence:
    """One factor for all networks, over NETWORKS elites of the archive on all labels.

    It is the one that makes the images likeliest, each as it is and changed as in training: who uses a network has harder
    pictures than those that were taken on the way of the training images. One for each network would promise more than it keeps,
    since the factors of single networks differ by less than those of single tasks. The haze is fitted to all labels and to random
    tasks, on the images as they are, as predicted accuracies are.
    """
    rng = np.random.default_rng(seed)
    images = held_out.take(rng.permutation(len(held_out)) < MOST_IMAGES)
    everything = Task(indices=tuple(range(supernet.spec.labels)), text="")
    genes_PG = _elites(searcher, searcher.judge_of(everything))
    seen_NCHW = torch.from_numpy(images.x_NCHW)
    z_PNL, changed_PNL = (
        torch.stack([_logits(supernet, genes, everything, x_NCHW) for genes in genes_PG])
        for x_NCHW in (seen_NCHW, changed_images(seen_NCHW, augmentation, seed=seed))
    )
    y_N = torch.from_numpy(images.y_N)
    confidence = Confidence(sharpness=_sharpness(torch.cat([z_PNL, changed_PNL]), y_N), images=len(images))
    return with_haze(
        confidence,
        [
            _shares(searcher, task, genes_PG, z_PNL * confidence.sharpness, images.y_N)
            for task in (everything, *_some_tasks(images.y_N, rng))
        ],
    )


def changed_images(x_NCHW: Tensor, augmentation: Augmentation, *, seed: int) -> Tensor:
    """uint8, each as training might change it."""
    changes_NR = augmentation.draw(len(x_NCHW), torch.Generator().manual_seed(seed))
    return (augmentation.change(x_NCHW.float() / 255, changes_NR) * 255).round().clamp(0, 255).to(torch.uint8)


def _sharpness(z_PNL: Tensor, y_N: Tensor) -> float:
    z_QL, y_Q = z_PNL.flatten(0, 1), y_N.repeat(len(z_PNL))

    def loss(log_sharpness: float) -> float:
        return float(cross_entropy(z_QL * float(np.exp(log_sharpness)), y_Q))

    return float(np.exp(minimize_scalar(loss, bounds=LOG_SHARPNESS, method="bounded").x))


def _some_tasks(y_N: NDArray[np.int64], rng: np.random.Generator) -> Iterator[Task]:
    """Of labels that there are images of."""
    labels = np.unique(y_N)
    for size in TASK_SIZES:
        for _ in range(TASKS_A_SIZE if size < len(labels) else 0):
            yield Task(indices=tuple(np.sort(rng.permutation(labels)[:size]).tolist()), text="")


def _shares(
    searcher: Searcher, task: Task, genes_PG: NDArray[np.int64], z_PNL: Tensor, y_N: NDArray[np.int64]
) -> MeasuredShares:
    """With labels counting alike."""
    asked_N = np.isin(y_N, task.indices)
    images_L = np.bincount(y_N)
    weights_N = 1 / images_L[y_N[asked_N]]
    sureness_PN = z_PNL[:, torch.from_numpy(asked_N)][:, :, list(task.indices)].softmax(2).amax(2).numpy()
    share_PT = np.stack([(sureness_PN >= threshold) @ weights_N for threshold in THRESHOLDS], axis=1)
    return MeasuredShares(
        judge=searcher.judge_of(task),
        genes_PG=genes_PG,
        thresholds_T=THRESHOLDS,
        share_PT=share_PT / weights_N.sum(),
    )


def _elites(searcher: Searcher, judge: Judge) -> NDArray[np.int64]:
    """From the least accurate to the most; the full network where there is no archive."""
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

"""Attacks on what a client sends: the labels by the last layer, the images by the first.

A descent is what a client adds to a weight: the gradient with its sign turned, or the change after local training.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

COMPLETION_STEPS = 60
RIDGE = 0.1


def label_shares(descent_K: Tensor, probability_K: Tensor, *, is_gradient: bool) -> Tensor:
    """Shares of the labels among the samples behind the descent of the last layer's bias.

    The gradient of the cross-entropy by the bias is the mean predicted probability less the share of the label, so one
    gradient gives the shares away (iDLG, arXiv 2001.02610, and LLG, arXiv 2105.09369); `probability_K` is what the network
    predicts on inputs that the attacker makes up. After training the scale of the sum of gradients is unknown: it is taken to be
    the one at which the label that was pushed down most is absent.
    """
    scale = 1.0 if is_gradient else float((-descent_K / probability_K).max())
    share_K = (probability_K + descent_K / max(scale, 1e-12)).clamp_min(0)
    return share_K / share_K.sum()


def rounded_counts(share_K: Tensor, samples: int) -> Tensor:
    """Whole numbers of samples, by largest remainder."""
    exact_K = share_K * samples
    count_K = exact_K.floor().long()
    count_K[(count_K - exact_K).argsort()[: samples - int(count_K.sum())]] += 1
    return count_K


def labels_found(guess_K: Tensor, count_K: Tensor) -> float:
    """Share of the samples whose labels are in the guess; both are counts of as many samples."""
    return float(torch.minimum(guess_K, count_K).sum() / count_K.sum())


def unmixed_images(descent_HD: Tensor, shape: tuple[int, int, int], components: int) -> Tensor:
    """As many images (components, D), up to scale and sign, of which the rows of a fully connected layer's descent are mixtures.

    Independent component analysis as in the Cocktail Party Attack (arXiv 2209.05578). Pixels of two images are correlated,
    differences of neighbouring pixels hardly are and are sparse: what separates the mixtures of those separates the images.
    """
    _, _, mixture_BD = torch.linalg.svd(descent_HD.double(), full_matrices=False)
    mixture_BCHW = mixture_BD[:components].unflatten(1, shape)
    differences_BE = torch.cat([mixture_BCHW.diff(dim=2).flatten(1), mixture_BCHW.diff(dim=3).flatten(1)], dim=1)
    analysis = FastICA(whiten="unit-variance", fun="exp", max_iter=300, tol=1e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        analysis.fit(differences_BE.T.numpy())
    return (torch.from_numpy(analysis.components_) @ mixture_BD[:components]).float()


def completed(descent_HD: Tensor, mask_HD: Tensor, rank: int) -> Tensor:
    """A matrix of that rank that agrees with a descent known on the mask alone, by alternating least squares with a ridge.

    It exists for few images: a pixel is known through as many numbers as it has weights on the mask.
    """
    known_HD = descent_HD / descent_HD[mask_HD].std()
    mask_DH, ridge_BB = mask_HD.T.float(), RIDGE * torch.eye(rank)
    unit_HB = torch.randn(len(known_HD), rank, generator=torch.Generator().manual_seed(0))

    def fitted(other_NB: Tensor, mask_MN: Tensor, known_MN: Tensor) -> Tensor:
        squares_NE = (other_NB[:, :, None] * other_NB[:, None, :]).flatten(1)
        normal_MBB = (mask_MN @ squares_NE).unflatten(1, (rank, rank)) + ridge_BB
        fitted_MB1: Tensor = torch.linalg.solve(normal_MBB, (known_MN @ other_NB)[:, :, None])
        return fitted_MB1[:, :, 0]

    for _ in range(COMPLETION_STEPS):
        pixel_DB = fitted(unit_HB, mask_DH, known_HD.T)
        unit_HB = fitted(pixel_DB, mask_DH.T, known_HD)
    return unit_HB @ pixel_DB.T


def similarity(found_ND: Tensor, images_MD: Tensor) -> Tensor:
    """Of each image, the largest |correlation| over pixels with one that was found."""

    def standard(one_ND: Tensor) -> Tensor:
        centred_ND = one_ND - one_ND.mean(1, keepdim=True)
        return centred_ND / centred_ND.norm(dim=1, keepdim=True).clamp_min(1e-12)

    return (standard(images_MD) @ standard(found_ND).T).abs().amax(1)


def disaggregated(
    groups: Sequence[Sequence[int]], means: Sequence[NDArray[np.float32]], clients: int
) -> NDArray[np.float32]:
    """What each client changed on average, `change_KP`, by least squares from the means of groups whose members are known
    (Gradient Disaggregation, arXiv 2106.06089)."""
    share_SK = np.array([[(one in group) / len(group) for one in range(clients)] for group in groups])
    change_KP, *_ = np.linalg.lstsq(share_SK, np.stack(means).astype(np.float64), rcond=None)
    return change_KP.astype(np.float32)


def as_numbers(ring_P: NDArray[np.uint32], largest: float) -> NDArray[np.float32]:
    """What integers modulo 2^32 say to whoever takes them for numbers: one masked vector, without the others."""
    return (ring_P.astype(np.int32) * (largest / 2**31)).astype(np.float32)

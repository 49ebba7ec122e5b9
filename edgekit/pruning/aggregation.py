"""One update from those of many clients, of whom some may be wrong, whether by accident or on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def bounded(delta_KV: NDArray[np.float32], part: slice, limit: float) -> NDArray[np.float32]:
    """No row's `part` is longer (L2) than `limit` times the median length; longer ones are scaled down to it."""
    norm_K = np.linalg.norm(delta_KV[:, part].astype(np.float64), axis=1)
    longest = limit * float(np.median(norm_K))
    factor_K = np.where(norm_K > longest, longest / np.maximum(norm_K, 1e-300), 1.0)
    result = delta_KV.copy()
    result[:, part] *= factor_K[:, None].astype(np.float32)
    return result


def against_most(delta_KV: NDArray[np.float32], most: int) -> NDArray[np.bool_]:
    """`is_K`: whose change has a negative cosine with the sum of all others' directions, and so undoes what they learnt.

    At most `most` of them, those of the least cosines: clients that see other labels go other ways without meaning harm, and
    may be many.
    """
    delta = delta_KV.astype(np.float64)
    # Each of length one, so that a long change does not say where most go.
    unit_KV = delta / np.maximum(np.linalg.norm(delta, axis=1, keepdims=True), 1e-300)
    others_KV = unit_KV.sum(0) - unit_KV
    cosine_K = (unit_KV * others_KV).sum(1) / np.maximum(np.linalg.norm(others_KV, axis=1), 1e-300)
    is_K = np.zeros(len(delta_KV), bool)
    is_K[np.argsort(cosine_K, kind="stable")[:most]] = True
    against_K: NDArray[np.bool_] = is_K & (cosine_K < 0)
    return against_K


def weights_of(samples_K: Sequence[int]) -> NDArray[np.float64]:
    """By samples, of which none may claim more than twice the median; they sum to 1."""
    samples = np.asarray(samples_K, np.float64)
    bound_K = np.minimum(samples, 2 * np.median(samples))
    return np.asarray(bound_K / bound_K.sum())


def trimmed_mean(
    delta_KV: NDArray[np.floating], weight_K: NDArray[np.float64], trim: float, has_KV: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Of each coordinate the weighted mean, without the floor(trim * K) least and largest of its K values.

    `has_KV` says which values there are: the others count for nothing, and a coordinate that nobody has is zero. Source: Yin et
    al., arXiv 1803.01498.
    """
    number, weight_KV = len(delta_KV), np.broadcast_to(weight_K[:, None], delta_KV.shape)
    if has_KV is not None:
        weight_KV = weight_KV * has_KV
    cut = int(trim * number)
    if cut:
        # What is missing is sorted last, and each coordinate is trimmed by its own number of values.
        there_V = np.full(delta_KV.shape[1], number) if has_KV is None else has_KV.sum(0)
        sortable = delta_KV if has_KV is None else np.where(has_KV, delta_KV, np.inf)
        order = np.argsort(sortable, axis=0, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(number)[:, None], axis=0)
        cut_V = (trim * there_V).astype(np.int64)
        weight_KV = weight_KV * ((rank >= cut_V) & (rank < there_V - cut_V))
    total_V = weight_KV.sum(0)
    summed_V = (delta_KV.astype(np.float64) * weight_KV).sum(0)
    mean_V: NDArray[np.float64] = np.divide(summed_V, total_V, out=np.zeros_like(summed_V), where=total_V > 0)
    return mean_V

"""Labelled pictures for a course: those of its labels alone, numbered as its outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgekit.assembler.training.data import Dataset, read_labelled, split_by_group
from edgekit.core.errors import BadInputError
from edgekit.federated.client import LocalSamples
from edgekit.federated.server_pruning import ServerPictures
from edgekit.federated.start import Start
from edgekit.tasks.vocabulary import Label, Vocabulary

HELD_OUT = 0.1


def read_split(data: Path, split: str, *, size: int, vocabulary: Vocabulary, indices: tuple[int, ...]) -> Dataset:
    """`size` pixels a side; of the labels `indices` alone, numbered in their order.

    Raises BadInputError for data of no known form, of unknown labels, or without any of these.
    """
    dataset = read_labelled(data, split, image_size=size, vocabulary=vocabulary)
    wanted = np.isin(dataset.y_N, indices)
    if not wanted.any():
        raise BadInputError(
            f"{data} holds no picture of the course's labels", hint="give the folders the names of the labels"
        )
    if not wanted.all():
        dataset = dataset.take(wanted)
    return replace(dataset, y_N=np.searchsorted(np.asarray(indices), dataset.y_N).astype(np.int64))


def training_and_test(
    data: Path, *, size: int, vocabulary: Vocabulary, indices: tuple[int, ...], seed: int
) -> tuple[Dataset, Dataset]:
    """The splits `train` and `test`; where there is no `test`, a tenth of the groups is held out as that."""
    training = read_split(data, "train", size=size, vocabulary=vocabulary, indices=indices)
    if data.is_dir() and ((data / "test").is_dir() or any(data.glob("test*.parquet"))):
        return training, read_split(data, "test", size=size, vocabulary=vocabulary, indices=indices)
    return split_by_group(training, held_out=HELD_OUT, seed=seed)


def server_pictures(public: Path | None, begin: Start) -> ServerPictures:
    """Those of the split `train` with their labels, or of a server that has none those that the supernet ships."""
    if public is None:
        return ServerPictures(x_NCHW=begin.x_NCHW)
    size, vocabulary = begin.input_shape[1], begin.vocabulary
    samples = samples_of(read_split(public, "train", size=size, vocabulary=vocabulary, indices=begin.indices))
    return ServerPictures(x_NCHW=samples.inputs(torch.arange(len(samples)), None), y_N=samples.y_N)


def own_samples(data: Path, labels: tuple[str, ...], size: int) -> LocalSamples:
    """A client's, of the labels that the server names."""
    vocabulary = Vocabulary(tuple(Label(name=name, index=index) for index, name in enumerate(labels)))
    dataset = read_split(data, "train", size=size, vocabulary=vocabulary, indices=tuple(range(len(labels))))
    return samples_of(dataset)


def samples_of(dataset: Dataset) -> LocalSamples:
    return LocalSamples(x_N=torch.from_numpy(dataset.x_NCHW), y_N=torch.from_numpy(dataset.y_N))

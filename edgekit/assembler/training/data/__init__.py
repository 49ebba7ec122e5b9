"""Labelled images for training and measuring: folders of pictures, Parquet, arrays; read, checked, split."""

from edgekit.assembler.training.data.dataset import Dataset, split_by_group
from edgekit.assembler.training.data.reading import read_labelled, read_parquet

__all__ = ["Dataset", "read_labelled", "read_parquet", "split_by_group"]

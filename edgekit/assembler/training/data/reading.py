"""From a path to images in memory: the form is recognised, and nothing is left out unsaid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.assembler.training.data.arrays import arrays_source
from edgekit.assembler.training.data.checks import DataReport, cannot_read, checked
from edgekit.assembler.training.data.dataset import Dataset
from edgekit.assembler.training.data.decoding import Progress, decode
from edgekit.assembler.training.data.image_folder import image_folder_source
from edgekit.assembler.training.data.parquet import parquet_source
from edgekit.assembler.training.data.source import FORMS, Source
from edgekit.assembler.training.data.vocabularies import check_numbers, labelled, vocabulary_of
from edgekit.assembler.training.recipe import Recipe
from edgekit.core.errors import BadInputError
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.storage import VOCABULARY
from edgekit.tasks.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """What a training needs to know of its images, `dataset` without those that the report finds bad."""

    recipe: Recipe
    spec: SupernetSpec
    vocabulary: Vocabulary
    dataset: Dataset
    report: DataReport


def read_training_data(recipe_path: Path, data: Path, progress: Progress) -> TrainingData:
    """The split `train` of the images at `data`, at the largest image size of the recipe, and what is to be said of them.

    The vocabulary is the `vocabulary.json` beside the recipe, or where there is none the class names of the data. Raises
    BadInputError for an unusable recipe, and for data of no known form or that does not fit the vocabulary.
    """
    recipe = Recipe.load(recipe_path)
    written = recipe_path.parent / VOCABULARY
    source = open_source(data, "train")
    vocabulary = Vocabulary.load(written) if written.exists() else vocabulary_of(source)
    spec = SupernetSpec.from_json(recipe.supernet, labels=len(vocabulary))
    source = labelled(source, vocabulary)
    decoded = decode(source, image_size=spec.image_size, progress=progress)
    dataset, report = checked(source, decoded, vocabulary, made=not written.exists())
    return TrainingData(recipe=recipe, spec=spec, vocabulary=vocabulary, dataset=dataset, report=report)


def read_labelled(data: Path, split: str, *, image_size: int, vocabulary: Vocabulary) -> Dataset:
    """The images of one split, all of them. Raises BadInputError as `read_training_data`, and for unreadable images."""
    return _read(labelled(open_source(data, split), vocabulary), image_size)


def read_parquet(folder: Path, split: str, *, image_size: int, labels: int) -> Dataset:
    """As `read_labelled`, with the labels as the data numbers them, below `labels`."""
    source = open_source(folder, split)
    check_numbers(source, labels)
    return _read(source, image_size)


def open_source(data: Path, split: str) -> Source:
    """The pictures of one split: `{split}*.parquet` in a folder, or its folder `split` with a folder for each class.

    A single file, and a folder of classes without splits, are read whole. Raises BadInputError where `data` has no known
    form, or two.
    """
    hint = f"give {FORMS}; see docs/data.md"
    match data.suffix:
        case ".npz" if data.is_file():
            return arrays_source(data)
        case ".parquet" if data.is_file():
            return parquet_source((data,), data)
    if data.is_file() or not data.exists():
        raise BadInputError(f"{data} {'is of no known form' if data.exists() else 'does not exist'}", hint=hint)
    files = tuple(sorted(data.glob(f"{split}*.parquet")))
    pictures = image_folder_source(data, split)
    if files and pictures:
        raise BadInputError(f"{data} holds both Parquet ({files[0].name}) and folders of pictures", hint=hint)
    if files:
        return parquet_source(files, data)
    if pictures:
        return pictures
    raise BadInputError(f"no {split}*.parquet and no pictures in folders of classes ({split}) in {data}", hint=hint)


def _read(source: Source, image_size: int) -> Dataset:
    decoded = decode(source, image_size=image_size, progress=lambda _done, _of: None)
    if decoded.unreadable:
        raise BadInputError(cannot_read(str(source.path), decoded.unreadable), hint="repair or remove them")
    return Dataset(x_NCHW=decoded.x_NCHW, y_N=source.y_N, group_N=source.group_N)

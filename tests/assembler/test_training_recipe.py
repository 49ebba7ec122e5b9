"""Recipes are checked before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from shapes_training import write_recipe

from edgekit.assembler.training.recipe import Recipe
from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, ExitCode
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.supernet import Supernet


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


def change(recipe: Path, old: str, new: str) -> None:
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new, 1))


def test_a_recipe_reads_as_written(recipe: Path) -> None:
    read = Recipe.load(recipe)
    assert (read.name, read.steps, read.batch, read.held_out) == ("shapes", 12, 24, 0.25)
    assert (read.size_shares, read.augmentation.tilt) == ((0.4, 0.6), 5)
    assert SupernetSpec.from_json(read.supernet, labels=6).image_sizes == (8, 16)


@pytest.mark.parametrize(
    ("path", "labels", "image_size"),
    [("signs43/recipe.toml", 43, 32), ("things200/recipe.toml", 200, 64), ("things200/recipe-cpu.toml", 200, 64)],
)
def test_the_shipped_recipes_are_sound(path: str, labels: int, image_size: int) -> None:
    read = Recipe.load(data_folder("models") / path)
    spec = SupernetSpec.from_json(read.supernet, labels=labels)
    assert spec.image_size == image_size
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in Supernet(spec).parameters())
    assert 2 * parameters < 12e6, "more than 12 MB in float16"


def test_an_unknown_key_is_answered_with_the_nearest(recipe: Path) -> None:
    change(recipe, "weight_decay", "weight_decoy")
    with pytest.raises(BadInputError, match='unknown key "weight_decoy"') as caught:
        Recipe.load(recipe)
    assert caught.value.hint == 'did you mean "weight_decay"?'
    assert caught.value.code is ExitCode.BAD_INPUT


def test_a_missing_key_is_named(recipe: Path) -> None:
    change(recipe, "batch = 24\n", "")
    with pytest.raises(BadInputError, match='"batch" is missing'):
        Recipe.load(recipe)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("steps = 12", "steps = 12.5"),
        ("steps = 12", 'steps = "12"'),
        ("batch = 24", "batch = true"),
        ('name = "shapes"', "name = 3"),
        ("learning_rate = 3e-3", 'learning_rate = "fast"'),
        ("bfloat16 = false", "bfloat16 = 1"),
        ('optimizer = "adamw"', "optimizer = 1"),
        ("size_shares = [0.4, 0.6]", "size_shares = 1.0"),
        ("[augmentation]", "[[augmentation]]"),
        ("[supernet]", "[[supernet]]"),
    ],
)
def test_a_value_of_another_type_is_refused(recipe: Path, old: str, new: str) -> None:
    change(recipe, f"\n{old}", f"\n{new}")
    key = old.strip("[]").split()[0]
    with pytest.raises(
        BadInputError, match=rf'"{key}" = .* must be (text|a whole number|a number|true or false|a list|a table)$'
    ):
        Recipe.load(recipe)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "shapes"', 'name = ""'),
        ("seed = 1", "seed = -1"),
        ("steps = 12", "steps = 0"),
        ("warmup_steps = 5", "warmup_steps = 13"),
        ("warmup_steps = 5", "warmup_steps = -1"),
        ("warmup_steps = 5", "warmup_steps = 4"),
        ("batch = 24", "batch = 1"),
        ("batch = 24", "batch = 23"),
        ("accumulate = 1", "accumulate = 0"),
        ("held_out = 0.25", "held_out = 0.0"),
        ("held_out = 0.25", "held_out = 1.0"),
        ("held_out = 0.25", "held_out = nan"),
        ("warmup_learning_rate = 1e-2", "warmup_learning_rate = 0"),
        ("learning_rate = 3e-3", "learning_rate = -1e-3"),
        ("learning_rate = 3e-3", "learning_rate = inf"),
        ("weight_decay = 0.02", "weight_decay = -0.1"),
        ("label_smoothing = 0.1", "label_smoothing = 1"),
        ("all_labels = 0.3", "all_labels = 1.1"),
        ("smallest_limit = 0.1", "smallest_limit = 0"),
        ("smallest_limit = 0.1", "smallest_limit = 0.8"),
        ("largest_limit = 0.7", "largest_limit = 1.5"),
        ("size_shares = [0.4, 0.6]", "size_shares = []"),
        ("size_shares = [0.4, 0.6]", "size_shares = [1.0]"),
        ("size_shares = [0.4, 0.6]", "size_shares = [0.4, 0.7]"),
        ("size_shares = [0.4, 0.6]", "size_shares = [1.2, -0.2]"),
        ("size_shares = [0.4, 0.6]", "size_shares = [1.0, 0.0]"),
        ("size_shares = [0.4, 0.6]", 'size_shares = [0.4, "0.6"]'),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(recipe: Path, old: str, new: str) -> None:
    """The sentence names the key, the value and what is expected."""
    change(recipe, f"\n{old}", f"\n{new}")
    with pytest.raises(BadInputError, match=rf"recipe: {old.split()[0]} = .* must be \w+"):
        Recipe.load(recipe)


def test_parts_are_made_of_pairs(recipe: Path) -> None:
    """Images are mixed in pairs."""
    change(recipe, "accumulate = 1", "accumulate = 5")
    with pytest.raises(BadInputError, match="batch = 24 must be a multiple of 2 x accumulate"):
        Recipe.load(recipe)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("tilt = 5", "tlit = 10", 'augmentation: unknown key "tlit"'),
        ("tilt = 5", "tilt = -10", "augmentation: tilt = -10 must be a number from 0"),
        ("image_sizes = [8, 16]", "image_sizes = [16, 8]", "rising multiples of 4"),
        ("image_sizes = [8, 16]", "image_size = 16", "image_sizes"),
        ("hidden_channels = 24", "hidden_channels = 25", "cannot be cut into 4 equal bricks"),
    ],
)
def test_tables_are_checked_before_anything_is_read(recipe: Path, old: str, new: str, expected: str) -> None:
    change(recipe, old, new)
    with pytest.raises(BadInputError, match=expected):
        Recipe.load(recipe)


@pytest.mark.parametrize("content", [b"steps = ", b"\xff\xfe", b"steps = 1\nsteps = 2\n"])
def test_broken_toml_is_refused(recipe: Path, content: bytes) -> None:
    recipe.write_bytes(content)
    with pytest.raises(BadInputError, match="is not TOML"):
        Recipe.load(recipe)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        Recipe.load(tmp_path / "absent.toml")

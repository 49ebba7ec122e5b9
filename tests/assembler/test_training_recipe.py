"""Recipes are checked before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from shapes_training import write_recipe

from edgekit.assembler.training.recipe import Recipe
from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, ExitCode
from edgekit.supernet.spec import SupernetSpec


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
    assert SupernetSpec.from_json(read.supernet, labels=6).image_size == 16


def test_the_shipped_recipe_is_sound() -> None:
    read = Recipe.load(data_folder("models") / "signs43" / "recipe.toml")
    assert SupernetSpec.from_json(read.supernet, labels=43).image_size == 32


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
        ("[supernet]", "[[supernet]]"),
    ],
)
def test_a_value_of_another_type_is_refused(recipe: Path, old: str, new: str) -> None:
    change(recipe, f"\n{old}", f"\n{new}")
    with pytest.raises(BadInputError, match="must be of type"):
        Recipe.load(recipe)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("steps = 12", "steps = 0"),
        ("warmup_steps = 5", "warmup_steps = 13"),
        ("warmup_steps = 5", "warmup_steps = -1"),
        ("batch = 24", "batch = 1"),
        ("held_out = 0.25", "held_out = 0.0"),
        ("held_out = 0.25", "held_out = 1.0"),
        ("held_out = 0.25", "held_out = nan"),
        ("smallest_limit = 0.1", "smallest_limit = 0"),
        ("smallest_limit = 0.1", "smallest_limit = 0.8"),
        ("largest_limit = 0.7", "largest_limit = 1.5"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(recipe: Path, old: str, new: str) -> None:
    change(recipe, f"\n{old}", f"\n{new}")
    with pytest.raises(BadInputError, match="makes no sense"):
        Recipe.load(recipe)


@pytest.mark.parametrize("content", [b"steps = ", b"\xff\xfe", b"steps = 1\nsteps = 2\n"])
def test_broken_toml_is_refused(recipe: Path, content: bytes) -> None:
    recipe.write_bytes(content)
    with pytest.raises(BadInputError, match="is not TOML"):
        Recipe.load(recipe)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        Recipe.load(tmp_path / "absent.toml")

"""Recipes as people write them: read, refused with one sentence, and written so that they run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.core.errors import BadInputError, EdgekitError, UsageError
from edgekit.passes.registry import options_of, pass_class, pass_ids
from edgekit.pipeline.compression.recipe import parse_recipe, parse_step, read_recipe, text_of

TWO_PASSES = """
[[passes]]
id = "prune::channels"
macs_share = 0.5

[[passes]]
id = "train::distil"
epochs = 3
"""


def written(folder: Path, text: str, name: str = "recipe.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_recipe_runs_again_from_the_record_of_a_build_folder(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, TWO_PASSES))
    assert [one.id for one in recipe.passes] == ["prune::channels", "train::distil"]
    again = read_recipe(written(tmp_path, json.dumps(recipe.to_json()), "recipe.json"))
    assert again == recipe


def test_a_step_on_the_command_line_is_that_of_a_recipe(tmp_path: Path) -> None:
    from_file = read_recipe(written(tmp_path, TWO_PASSES))
    assert parse_recipe(["prune::channels,macs_share=0.5", "train::distil,epochs=3"]) == from_file


@pytest.mark.parametrize("pass_id", pass_ids())
def test_every_pass_says_what_it_is_and_reads_its_own_text(pass_id: str) -> None:
    kind = pass_class(pass_id)
    assert kind.id == pass_id
    assert kind.summary.endswith(".")
    assert kind.source
    for option in options_of(kind):
        assert option.help, f"{pass_id}: {option.name} is not explained"
        for value in option.search:
            tried = parse_step(f"{pass_id},{option.name}={json.dumps(value)}")
            assert parse_step(text_of(tried)) == tried


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", BadInputError, "lists no passes"),
        ("passes = 3", BadInputError, "lists no passes"),
        ("[[passes]]\nepochs = 3", BadInputError, "pass 1 has no id"),
        ("[[passes]]\nid = 'prune::chanels'", UsageError, "prune::chanels"),
        ("[[passes]]\nid = 'train::distil'\nepoch = 3", UsageError, 'no option "epoch"'),
        ("[[passes]]\nid = 'train::distil'\nepochs = 'many'", BadInputError, "epochs is 'many'"),
        ("[[passes]]\nid = 'train::distil'\nepochs = nan", BadInputError, "epochs is nan"),
        ("[[passes]]\nid = 'train::distil'\n[extra]", BadInputError, 'unknown key "extra"'),
        ("[[passes", BadInputError, "is not a recipe"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_one_sentence(
    tmp_path: Path, text: str, error: type[EdgekitError], says: str
) -> None:
    with pytest.raises(error) as caught:
        read_recipe(written(tmp_path, text))
    assert says in caught.value.message
    assert caught.value.hint


def test_a_misspelt_pass_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        parse_step("swap::gost")
    assert "swap::ghost" in caught.value.hint


def test_an_option_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="is not an option"):
        parse_step("train::distil,epochs")

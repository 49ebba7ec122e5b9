"""A supernet's folder is read whole, or refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekit.assembler.assembler import Assembler
from edgekit.core.errors import BadInputError, ExitCode, UsageError
from edgekit.core.records import sha256_of
from edgekit.supernet import storage
from edgekit.supernet.storage import (
    CALIBRATION,
    CARD,
    VOCABULARY,
    WEIGHTS,
    open_supernet,
    supernet_tensors,
    with_weights_as_stored,
)
from edgekit.supernet.supernet import Supernet


@pytest.fixture
def folder(tiny_supernet: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_supernet, tmp_path / "stripes"))


def change_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD).read_text()) | changes
    (folder / CARD).write_text(json.dumps(card))


def test_a_whole_folder_opens(folder: Path) -> None:
    opened = open_supernet(folder)
    assert opened.name == "stripes"
    assert len(opened.vocabulary) == opened.spec.labels == 6
    assembler = Assembler.load(opened)
    x_NCHW = torch.rand(2, 3, opened.spec.image_size, opened.spec.image_size)
    assert assembler.supernet(x_NCHW, opened.spec.full).shape == (2, 6)
    assert not any(module.training for module in assembler.supernet.modules())
    assert opened.read_tensors(CALIBRATION)["x_NHWC"].dtype is torch.uint8


def test_what_is_stored_is_what_was_measured(folder: Path) -> None:
    """Weights of convolutions in float16, and nothing else rounded; rounding again changes nothing."""
    opened = open_supernet(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exact = Supernet(opened.spec)
    before = {key: value.clone() for key, value in exact.state_dict().items()}
    measured = with_weights_as_stored(exact)
    stored = supernet_tensors(measured)
    read = opened.load(stored).state_dict()
    for key, value in measured.state_dict().items():
        assert torch.equal(read[key], value), key
        assert read[key].dtype is torch.float32
        if value.ndim == 4:
            assert stored[f"supernet.{key}"].dtype is torch.float16
            torch.testing.assert_close(value, before[key], rtol=2**-11, atol=1e-7)
        else:
            assert torch.equal(value, before[key]), key


def test_a_text_names_a_folder_too(folder: Path) -> None:
    assert open_supernet(str(folder)) == open_supernet(folder)


@pytest.mark.parametrize("position", [0, 3, 100, -1])
@pytest.mark.parametrize("file", [WEIGHTS, CALIBRATION])
def test_a_flipped_byte_is_found(folder: Path, file: str, position: int) -> None:
    content = bytearray((folder / file).read_bytes())
    content[position] ^= 0x40
    (folder / file).write_bytes(content)
    with pytest.raises(BadInputError, match="SHA-256 differs") as caught:
        open_supernet(folder).read_tensors(file)
    assert caught.value.code is ExitCode.BAD_INPUT
    assert str(folder / file) in caught.value.message


@pytest.mark.parametrize("kept", [0, 4, 1000])
def test_truncated_weights_are_found(folder: Path, kept: int) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:kept])
    with pytest.raises(BadInputError, match="SHA-256 differs"):
        Assembler.load(open_supernet(folder))


@pytest.mark.parametrize("kept", [0, 4, 1000])
def test_weights_that_were_truncated_before_their_card_was_written_are_found(folder: Path, kept: int) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:kept])
    hashes = {file: sha256_of(folder / file) for file in (WEIGHTS, CALIBRATION)}
    change_card(folder, sha256=hashes)
    with pytest.raises(BadInputError, match="damaged"):
        Assembler.load(open_supernet(folder))


def test_missing_weights_are_found(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(BadInputError, match=f"cannot read .*{WEIGHTS}"):
        Assembler.load(open_supernet(folder))


def test_a_card_without_the_hash_of_a_file_is_found(folder: Path) -> None:
    change_card(folder, sha256={})
    with pytest.raises(BadInputError, match=WEIGHTS):
        Assembler.load(open_supernet(folder))


@pytest.mark.parametrize("part", ["supernet", "generator", "predictor"])
def test_weights_of_another_supernet_do_not_fit(folder: Path, part: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({key: value for key, value in tensors.items() if not key.startswith(part)}, folder / WEIGHTS)
    change_card(folder, sha256={file: sha256_of(folder / file) for file in (WEIGHTS, CALIBRATION)})
    with pytest.raises(BadInputError, match=f"weights of the {part} do not fit"):
        Assembler.load(open_supernet(folder))


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(folder: Path, schema: object) -> None:
    change_card(folder, schema_version=schema)
    with pytest.raises(BadInputError, match="schema version"):
        open_supernet(folder)


@pytest.mark.parametrize("key", ["supernet", "sha256"])
def test_a_card_without_its_parts_is_refused(folder: Path, key: str) -> None:
    change_card(folder, **{key: None})
    with pytest.raises(BadInputError, match=CARD):
        open_supernet(folder)


def test_a_truncated_card_is_refused(folder: Path) -> None:
    (folder / CARD).write_bytes((folder / CARD).read_bytes()[:-20])
    with pytest.raises(BadInputError, match="not a complete JSON record"):
        open_supernet(folder)


def test_a_missing_vocabulary_is_refused(folder: Path) -> None:
    (folder / VOCABULARY).unlink()
    with pytest.raises(BadInputError, match=VOCABULARY):
        open_supernet(folder)


def test_a_vocabulary_of_other_length_does_not_fit(folder: Path) -> None:
    vocabulary = json.loads((folder / VOCABULARY).read_text())
    vocabulary["labels"].append({"name": "a seventh"})
    (folder / VOCABULARY).write_text(json.dumps(vocabulary))
    with pytest.raises(BadInputError, match="do not fit"):
        Assembler.load(open_supernet(folder))


def test_a_folder_without_a_supernet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no supernet"):
        open_supernet(tmp_path)
    with pytest.raises(BadInputError, match="holds no supernet"):
        open_supernet(tmp_path / "absent")


def test_an_unknown_name_is_answered_with_the_nearest(tiny_supernet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "data_folder", lambda _name: tiny_supernet.parent)
    assert open_supernet("stripes").path == tiny_supernet
    with pytest.raises(UsageError, match='no supernet is called "strips"') as caught:
        open_supernet("strips")
    assert caught.value.hint == 'did you mean "stripes"?'
    assert caught.value.code is ExitCode.USAGE

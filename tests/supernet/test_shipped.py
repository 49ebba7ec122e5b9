"""A supernet that ships is loaded as it was released, or not at all; one of the user's own is what its card says."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

import edgekit
from edgekit.assembler.elites import ARCHIVE
from edgekit.assembler.training.illumination import add_archive
from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, ExitCode, UsageError
from edgekit.supernet import storage
from edgekit.supernet.shipped import SHIPPED
from edgekit.supernet.storage import CALIBRATION, CARD, VOCABULARY, WEIGHTS, list_supernets, open_supernet

LOADED = (WEIGHTS, CALIBRATION, ARCHIVE, VOCABULARY, CARD)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what ships, to damage."""
    copied = tmp_path / "models"
    shutil.copytree(data_folder("models") / "signs43", copied / "signs43")
    monkeypatch.setattr(storage, "data_folder", lambda _name: copied)
    return copied


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_what_ships_is_known() -> None:
    """Whoever made a supernet anew finds in the failure what belongs into `SHIPPED`."""
    found = {
        name: {
            file: sha256((data_folder("models") / name / file).read_bytes()).hexdigest() for file in (CARD, VOCABULARY)
        }
        for name in list_supernets()
    }
    assert found == SHIPPED


@pytest.mark.parametrize("name", list_supernets())
def test_the_card_knows_every_file_of_tensors(name: str) -> None:
    folder = data_folder("models") / name
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    assert {path.name for path in folder.glob("*.safetensors")} <= set(card["sha256"])


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("file", LOADED)
def test_a_flipped_bit_ends_the_build(models: Path, tmp_path: Path, file: str, part: float) -> None:
    damaged = models / "signs43" / file
    flip(damaged, int(part * (damaged.stat().st_size - 1)))
    with pytest.raises(BadInputError, match="SHA-256 differs") as caught:
        edgekit.build(task="stop, yield", target="rpi4", output=tmp_path / "out")
    assert caught.value.code is ExitCode.BAD_INPUT
    assert str(damaged) in caught.value.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", [file for file in LOADED if file != CARD])
def test_a_card_that_was_changed_with_its_file_is_refused(models: Path, file: str) -> None:
    folder = models / "signs43"
    flip(folder / file, 100)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    card["sha256"][file] = sha256((folder / file).read_bytes()).hexdigest()
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
    for name in ("signs43", folder):
        with pytest.raises(BadInputError, match="not the card that ships"):
            open_supernet(name)


def test_the_archive_of_what_ships_is_not_filled_anew(models: Path) -> None:
    before = (models / "signs43" / CARD).read_bytes()
    with pytest.raises(UsageError, match="signs43 ships with edgekit"):
        add_archive(open_supernet("signs43"), report=lambda _done, _of: None)
    assert (models / "signs43" / CARD).read_bytes() == before


def test_a_folder_of_ones_own_is_what_its_card_says(models: Path, tmp_path: Path) -> None:
    """The same changed folder elsewhere is a supernet of the user's; its vocabulary is checked where the card lists it."""
    own = Path(shutil.copytree(models / "signs43", tmp_path / "own" / "signs43"))
    card = json.loads((own / CARD).read_text(encoding="utf-8")) | {"data": "mine"}
    card["sha256"][VOCABULARY] = sha256((own / VOCABULARY).read_bytes()).hexdigest()
    (own / CARD).write_text(json.dumps(card), encoding="utf-8")
    assert open_supernet(own).card["data"] == "mine"
    changed = (own / VOCABULARY).read_text(encoding="utf-8").replace('"stop"', '"halt"', 1)
    (own / VOCABULARY).write_text(changed, encoding="utf-8")
    with pytest.raises(BadInputError, match=f"{VOCABULARY} is not the file that its card describes"):
        open_supernet(own)

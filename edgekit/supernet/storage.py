"""Supernets on disk: `models/<name>/` with weights, vocabulary and card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.data_folders import data_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.core.records import read_json
from edgekit.supernet.shipped import SHIPPED
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from edgekit.supernet.supernet import Supernet

CARD_SCHEMA = 1
WEIGHTS, CALIBRATION, VOCABULARY, RECIPE, CARD = (
    "weights.safetensors",
    "calibration.safetensors",
    "vocabulary.json",
    "recipe.toml",
    "card.json",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetFolder:
    """A supernet's folder, its light parts read: `card` as written, `spec` and `vocabulary` parsed."""

    name: str
    path: Path
    card: Mapping[str, Any]
    spec: SupernetSpec
    vocabulary: Vocabulary

    def read_tensors(self, file: str) -> dict[str, Tensor]:
        """Tensors of one of the folder's files. Raises BadInputError where it is missing, damaged, or not the card's file."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.path / file
        try:
            tensors: dict[str, Tensor] = load(_read_checked(path, self.card["sha256"][file]))
            return tensors
        except (SafetensorError, KeyError) as error:
            raise BadInputError(f"{path} is damaged: {error}", hint="restore the supernet's folder") from error

    def load(self, tensors: Mapping[str, Tensor]) -> Supernet:
        """The supernet in eval mode, from the tensors of WEIGHTS."""
        from edgekit.supernet.supernet import Supernet

        supernet = Supernet(self.spec)
        load_part(supernet, "supernet", tensors, self.path / WEIGHTS)
        return supernet.eval().requires_grad_(False)


def supernet_tensors(supernet: Supernet) -> dict[str, Tensor]:
    """What `SupernetFolder.load` reads: weights of convolutions in float16, the rest as it is."""
    return {
        f"supernet.{key}": (value.half() if value.ndim == 4 else value).contiguous()
        for key, value in supernet.state_dict().items()
    }


def with_weights_as_stored(supernet: Supernet) -> Supernet:
    """Rounded in place to what `supernet_tensors` keeps, so that what is measured is what is shipped."""
    load_part(supernet, "supernet", supernet_tensors(supernet), Path(WEIGHTS))
    return supernet


def load_part(module: Any, part: str, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fills a module from the tensors named `part.*`. Raises BadInputError where they do not fit."""
    state = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise BadInputError(
            f"{path}: the weights of the {part} do not fit its card",
            hint="restore the supernet's folder, or refit one from an older edgekit: edgekit models refit --help",
        ) from error


def _read_checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file, read once, so that those used are those checked. Raises BadInputError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint="restore the supernet's folder") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        if path.name == CARD:
            raise BadInputError(
                f"{path} is not the card that ships with this edgekit (SHA-256 differs)",
                hint="install edgekit anew, and keep a supernet of your own in another folder",
            )
        raise BadInputError(
            f"{path} is not the file that its card describes (SHA-256 differs)",
            hint="restore the supernet's folder, or train it anew",
        )
    return content


def open_supernet(name: str | Path) -> SupernetFolder:
    """A shipped supernet by name, or one in a folder by path. Raises UsageError for unknown names, BadInputError for damage.

    One that ships is known by its card's SHA-256; one of the user's own is what its own card says.
    """
    path = Path(name)
    if not (path / CARD).is_file():
        if path.name != str(name) or path.is_dir():
            raise BadInputError(
                f"{path} holds no supernet ({CARD} is missing)", hint="give a folder that `edgekit models train` wrote"
            )
        path = data_folder("models") / str(name)
        if not (path / CARD).is_file():
            raise UsageError(f'no supernet is called "{name}"', hint=did_you_mean(str(name), list_supernets()))
    known = shipped_sums(path)
    if known:
        _read_checked(path / CARD, known[CARD])
    card = read_json(path / CARD, schema_version=CARD_SCHEMA)
    if not isinstance(card.get("supernet"), dict) or not isinstance(card.get("sha256"), dict):
        raise BadInputError(
            f"{path / CARD} lacks the description of the supernet", hint="restore the supernet's folder"
        )
    sums = {**card["sha256"], **known}
    if VOCABULARY in sums:
        _read_checked(path / VOCABULARY, sums[VOCABULARY])
    vocabulary = Vocabulary.load(path / VOCABULARY)
    spec = SupernetSpec.from_json(card["supernet"], labels=len(vocabulary))
    return SupernetFolder(name=path.resolve().name, path=path, card=card, spec=spec, vocabulary=vocabulary)


def shipped_sums(path: Path) -> Mapping[str, str]:
    """What `SHIPPED` says of a folder that ships with edgekit; nothing of any other."""
    folder = path.resolve()
    return SHIPPED.get(folder.name, {}) if folder.parent == data_folder("models").resolve() else {}


def list_supernets() -> tuple[str, ...]:
    return tuple(sorted(card.parent.name for card in data_folder("models").glob(f"*/{CARD}")))

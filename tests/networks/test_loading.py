"""Networks by the code that makes them, with weights from files; sources that are none."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from network_zoo import made
from safetensors.torch import save_file
from torch import Tensor, nn

from edgekit.core.errors import BadInputError, UsageError, VerificationError
from edgekit.networks.loading import load_network

SOURCE = "network_zoo:Shared"
SHAPE = (4, 6, 6)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    network, _ = made("shared")
    return dict(network.state_dict())


def saved(weights: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("form", ["plain.safetensors", "plain.pt", "wrapped.pth", "parallel.th"])
def test_weights_of_every_form_are_loaded(form: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / form
    prefixed = {f"module.{name}": value for name, value in weights.items()}
    if form.startswith("plain"):
        saved(weights, path)
    else:
        torch.save({"epoch": 3, "state_dict": weights if form.startswith("wrapped") else prefixed}, path)
    loaded = load_network(SOURCE, weights=path, input_shape=SHAPE)
    assert {name: value.tolist() for name, value in loaded.module.state_dict().items()} == {
        name: value.tolist() for name, value in weights.items()
    }
    assert loaded.origin == f"{SOURCE} with {form}"
    assert "batch 3 and 1" in loaded.notes[0]


def test_the_module_is_looked_for_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets.py").write_text("import torch.nn as nn\n\n\ndef tiny():\n    return nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    loaded = load_network("my_nets:tiny", input_shape=(3,))
    assert loaded.module(torch.zeros(7, 3)).shape == (7, 2)
    assert loaded.sha256 != load_network("my_nets:tiny", input_shape=(3,)).sha256


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def bad_weights(weights: dict[str, Tensor], folder: Path) -> Iterator[tuple[Path, str]]:
    yield folder / "absent.pt", "cannot read"
    torch.save({**weights, "payload": Payload(folder / "ran")}, folder / "payload.pt")
    yield folder / "payload.pt", "more than tensors"
    (folder / "pickle.pt").write_bytes(pickle.dumps(Payload(folder / "ran")))
    yield folder / "pickle.pt", "more than tensors"
    for suffix in ("pt", "safetensors"):
        whole = saved(weights, folder / f"whole.{suffix}").read_bytes()
        for part in (0.0, 0.4, 0.99):
            path = folder / f"part{part}.{suffix}"
            path.write_bytes(whole[: int(len(whole) * part)])
            yield path, "not a complete|incomplete|more than tensors"
    less = {name: value for name, value in weights.items() if name != "head.bias"}
    yield saved(less, folder / "less.pt"), "lacks what the network calls head.bias"
    more = {**weights, "extra": torch.zeros(1)}
    yield saved(more, folder / "more.safetensors"), "has extra, which the network does not have"
    shaped = {**weights, "head.bias": torch.zeros(3)}
    yield saved(shaped, folder / "shaped.pt"), "in another shape what the network calls head.bias"
    damaged = {**weights, "head.bias": torch.tensor([0.0, float("nan")])}
    yield saved(damaged, folder / "nan.safetensors"), "head.bias in .*nan.safetensors holds values that are not finite"
    torch.save([1, 2], folder / "list.pt")
    yield folder / "list.pt", "no state dict"


def test_weights_that_do_not_fit_are_refused_and_no_code_is_run(weights: dict[str, Tensor], tmp_path: Path) -> None:
    for path, reason in bad_weights(weights, tmp_path):
        with pytest.raises(BadInputError, match=reason) as caught:
            load_network(SOURCE, weights=path, input_shape=SHAPE)
        assert caught.value.hint
    assert not (tmp_path / "ran").exists()


class Mixed(nn.Module):
    """Its output for an input depends on the others in its batch."""

    def forward(self, x_NI: Tensor) -> Tensor:
        return x_NI - x_NI.mean(0)


def number() -> int:
    return 3


@pytest.mark.parametrize(
    ("source", "shape", "reason"),
    [
        ("no_such_package:net", (3,), "could not be called: No module named"),
        ("network_zoo:Absent", (3,), "could not be called: .*Absent"),
        ("test_loading:number", (3,), "returned int"),
        (SOURCE, None, "does not say the shape of its input"),
        ("model.tflite", None, "not a network that edgekit reads"),
        ("weights.pt", None, "not a network that edgekit reads"),
        ("README", None, "not a network that edgekit reads"),
    ],
)
def test_a_source_that_is_none_is_refused(source: str, shape: tuple[int, ...] | None, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        load_network(source, input_shape=shape)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["m.pt2", "m.onnx"])
def test_files_that_are_something_else_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(BadInputError, match="not a file"):
        load_network(str(path))
    for content in (b"", b"\x1c\x00\x00\x00TFL3" + bytes(100), b"GIF89a", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=name) as caught:
            load_network(str(path))
        assert caught.value.hint
    with path.open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(BadInputError, match="more than the 256 MB"):
        load_network(str(path))


def test_a_network_that_mixes_its_batch_is_found_out() -> None:
    with pytest.raises(VerificationError, match="differ"):
        load_network("test_loading:Mixed", input_shape=(4,))

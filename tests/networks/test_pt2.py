"""Archives of torch.export: read as data, refused where they would have to be unpickled or are damaged."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from network_zoo import NETWORKS, made, torch_export
from torch import nn

from edgekit.core.errors import BadInputError, ConversionError, UsageError
from edgekit.networks.lifting import lifted
from edgekit.networks.loading import load_network
from edgekit.networks.program import read_program_files, write_program
from edgekit.networks.pt2 import read_pt2


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "mobile.pt2"
    torch.export.save(torch_export("mobile", free=True), path)
    return path


def check(path: Path, name: str) -> None:
    """What is read from the file, by way of our own files, computes what the network computes."""
    network, shape = made(name)
    write_program(read_pt2(path), path.parent)
    module = lifted(read_program_files(path.parent))
    x_N = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.cat([network(one.clone()) for one in torch.split(x_N, 1)])
        assert torch.allclose(module(x_N), expected, atol=1e-5, rtol=1e-5)


@cache
def decomposed(name: str) -> torch.export.ExportedProgram:
    return torch_export(name).run_decompositions()


@pytest.mark.parametrize("name", NETWORKS)
def test_an_archive_computes_what_the_network_computes(name: str, tmp_path: Path) -> None:
    torch.export.save(torch_export(name), tmp_path / "m.pt2")
    check(tmp_path / "m.pt2", name)


@pytest.mark.parametrize("name", ["mobile", "concatenating", "perceptron", "signal", "volume"])
def test_an_archive_of_core_operators_computes_the_same(name: str, tmp_path: Path) -> None:
    torch.export.save(decomposed(name), tmp_path / "m.pt2")
    check(tmp_path / "m.pt2", name)


@pytest.mark.parametrize("name", ["concatenating", "signal"])
def test_sizes_that_depend_on_a_free_batch_are_read(name: str, tmp_path: Path) -> None:
    torch.export.save(torch_export(name, free=True), tmp_path / "m.pt2")
    check(tmp_path / "m.pt2", name)


def test_a_decomposed_network_has_its_layers_again(tmp_path: Path) -> None:
    torch.export.save(decomposed("mobile"), tmp_path / "m.pt2")
    network, _ = made("mobile")
    write_program(read_pt2(tmp_path / "m.pt2"), tmp_path)
    module = lifted(read_program_files(tmp_path))
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.ReLU6, nn.Hardswish)
    counts = [[sum(isinstance(one, kind) for one in net.modules()) for kind in kinds] for net in (network, module)]
    assert counts[0] == counts[1]
    assert dict(module.named_parameters()).keys() == dict(network.named_parameters()).keys()


def test_loading_says_what_was_compared(archive: Path) -> None:
    loaded = load_network(str(archive))
    assert loaded.input_shape == (3, 16, 16)
    assert loaded.origin == "mobile.pt2"
    assert len(loaded.sha256) == 64
    assert ["operator by operator" in loaded.notes[0], "each input alone" in loaded.notes[1]] == [True, True]
    with pytest.raises(UsageError, match="takes inputs of shape"):
        load_network(str(archive), input_shape=(3, 8, 8))


def rewritten(archive: Path, to: Path, changes: dict[str, Callable[[bytes], bytes]]) -> Path:
    """A copy whose parts, by the ends of their names, are changed; what is not there is added."""
    left = dict(changes)
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            ending = next((end for end in changes if info.filename.endswith(end)), None)
            content = old.read(info)
            new.writestr(info.filename, content if ending is None else left.pop(ending, changes[ending])(content))
        for name, make in left.items():
            new.writestr(f"mobile/{name}", make(b""))
    return to


class Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def in_json(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        record = json.loads(content)
        change(record)
        return json.dumps(record).encode()

    return changed


def first_weight(**fields: Any) -> Callable[[bytes], bytes]:
    return in_json(lambda record: next(iter(record["config"].values())).update(fields))


def test_pickled_parts_are_refused_and_not_run(archive: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    payload = pickle.dumps(Payload(mark))
    attacks = [
        {"model_weights_config.json": first_weight(use_pickle=True), "weights/weight_0": lambda _: payload},
        {
            "model_constants_config.json": lambda _: json.dumps(
                {
                    "config": {
                        "c": {"path_name": "custom_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
                    }
                }
            ).encode(),
            "data/constants/custom_obj_0": lambda _: payload,
        },
        {"data/weights/model.pt": lambda _: payload},
        {"serialized_exported_program.json": lambda _: b"{}", "serialized_state_dict.pt": lambda _: payload},
    ]
    for number, changes in enumerate(attacks):
        path = rewritten(archive, tmp_path / f"{number}.pt2", changes)
        with pytest.raises(BadInputError, match="pickled") as caught:
            load_network(str(path))
        assert caught.value.hint
    assert not mark.exists()
    pickle.loads(payload)  # noqa: S301 (the payload is one)
    assert mark.exists()


def graph(change: Callable[[Any], None]) -> dict[str, Callable[[bytes], bytes]]:
    return {"models/model.json": in_json(lambda record: change(record["graph_module"]["graph"]))}


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"models/other.json": lambda _: b"{}"}, BadInputError, "2 models"),
        ({"archive_version": lambda _: b"9"}, BadInputError, "later format"),
        ({"byteorder": lambda _: b"big"}, BadInputError, "big-endian"),
        (
            {"models/model.json": in_json(lambda record: record["schema_version"].update(major=3))},
            BadInputError,
            "version 3",
        ),
        ({"models/model.json": lambda content: content[:-9]}, BadInputError, "damaged"),
        ({"models/model.json": lambda _: b"[" * 100_000}, BadInputError, "refused|damaged"),
        ({"weights/weight_0": lambda content: content[:-4]}, BadInputError, "beyond what is stored"),
        ({"weights/weight_1": lambda content: b"\xff" * len(content)}, BadInputError, "not finite"),
        (
            {"model_weights_config.json": first_weight(path_name="../../../etc/passwd")},
            BadInputError,
            "pickled|damaged",
        ),
        (graph(lambda g: g["nodes"][0].update(target="torch.ops.aten.evil.default")), ConversionError, "evil.default"),
        (graph(lambda g: g["nodes"][2]["inputs"][0]["arg"]["as_tensor"].update(name="z")), ConversionError, "reads z"),
        (
            graph(lambda g: g["nodes"][0]["inputs"][3].update(arg={"as_ints": [0, 0]})),
            ConversionError,
            "conv2d.default",
        ),
        (
            graph(
                lambda g: g["tensor_values"][g["inputs"][-1]["as_tensor"]["name"]]["sizes"].__setitem__(
                    2, {"as_expr": {"expr_str": "Symbol('s1')", "hint": None}}
                )
            ),
            ConversionError,
            "dimension 2 of",
        ),
    ],
)
def test_damage_is_one_sentence(
    archive: Path, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason) as caught:
        load_network(str(rewritten(archive, tmp_path / "m.pt2", changes)))
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message  # type: ignore[attr-defined]
    assert caught.value.hint  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_a_truncated_archive_is_refused(archive: Path, tmp_path: Path, part: float) -> None:
    content = archive.read_bytes()
    path = tmp_path / "m.pt2"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(BadInputError, match=r"not a complete \.pt2 archive|holds no graph"):
        read_pt2(path)


def test_a_free_size_other_than_the_batch_is_refused(tmp_path: Path) -> None:
    network, size = nn.Conv2d(1, 1, 1).eval(), torch.export.Dim("h", min=4, max=64)
    torch.export.save(
        torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({2: size},)), tmp_path / "m.pt2"
    )
    with pytest.raises(ConversionError, match=r"dimension 2 of input .* is dynamic"):
        read_pt2(tmp_path / "m.pt2")

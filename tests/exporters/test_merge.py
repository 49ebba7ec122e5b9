"""Several networks in one file compute what each computes alone, and take only the bytes that are new."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_networks import Exported
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from narrowed_networks import Network, narrowed

from edgekit.core.errors import BadInputError, UsageError, VerificationError
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.flatbuffer import pack, unpack
from edgekit.exporters.merge import ALIGNMENT, merge, overlay
from edgekit.exporters.metadata import read_metadata, with_labels
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite_graph import read_graph
from edgekit.exporters.verify import verify

TABLES = 0.75
"""Names, shapes and scales of the parts are shared or kept: at most this share of theirs is left, plus what is padded."""


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    """By name: 12, 8 and 4 of the same filters, the last for smaller pictures."""
    widths = {"wide": (12, 32), "middle": (8, 32), "narrow": (4, 16)}
    return {name: narrowed(filters, size, tmp_path_factory.mktemp(name)) for name, (filters, size) in widths.items()}


@pytest.fixture(scope="session", params=["int8", "fp32"])
def parts(request: pytest.FixtureRequest, networks: Mapping[str, Network]) -> dict[str, Artifact]:
    return {name: getattr(network, request.param) for name, network in networks.items()}


@pytest.fixture(scope="session")
def merged(parts: Mapping[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("merged") / "model.tflite"
    path.write_bytes(merge({name: artifact.path.read_bytes() for name, artifact in parts.items()}))
    return path


def test_every_signature_computes_bit_for_bit_what_its_own_file_computes(
    parts: Mapping[str, Artifact], networks: Mapping[str, Network], merged: Path
) -> None:
    for name, artifact in parts.items():
        x_NHWC = networks[name].x_NHWC
        together = run_in_subprocess(merged, x_NHWC, signature=name).outputs
        np.testing.assert_array_equal(together, run_in_subprocess(artifact.path, x_NHWC).outputs)
        assert len(np.unique(together)) > len(x_NHWC), "outputs that tell nothing apart prove nothing"


def test_a_program_that_asks_for_no_signature_gets_the_first(
    parts: Mapping[str, Artifact], networks: Mapping[str, Network], merged: Path
) -> None:
    x_NHWC = networks["wide"].x_NHWC
    alone = run_in_subprocess(parts["wide"].path, x_NHWC).outputs
    np.testing.assert_array_equal(run_in_subprocess(merged, x_NHWC).outputs, alone)


def test_graph_and_metadata_of_every_signature_are_those_of_its_own_file(
    parts: Mapping[str, Artifact], merged: Path
) -> None:
    for name, artifact in parts.items():
        assert read_graph(merged, signature=name) == read_graph(artifact.path)
        assert read_metadata(merged, signature=name) == read_metadata(artifact.path)
    assert read_metadata(merged, signature="narrow").preprocessing.height == 16
    assert read_metadata(merged) == read_metadata(parts["wide"].path)


def test_the_file_holds_each_weight_once(parts: Mapping[str, Artifact], merged: Path) -> None:
    """Counted with a prefix test of every pair, and with the tables left that are no weights."""
    files = [artifact.path.read_bytes() for artifact in parts.values()]
    weights = [weights_of(content) for content in files]
    distinct = set().union(*weights)
    union = sum(len(one) for one in distinct if not any(other != one and other.startswith(one) for other in distinct))
    assert union < 0.8 * sum(len(one) for part in weights for one in part), "the networks have filters in common"

    size = merged.stat().st_size
    tables = sum(len(content) - sum(map(len, part)) for content, part in zip(files, weights, strict=True))
    assert union <= size <= union + TABLES * tables + ALIGNMENT * (len(distinct) + 1)


def test_the_first_filters_lie_inside_those_of_the_wider_network(merged: Path) -> None:
    places = sorted((buffer.offset, -buffer.size) for buffer in raw_buffers(merged.read_bytes()) if buffer.offset)
    assert all(place % ALIGNMENT == 0 for place, _ in places)
    assert len({place for place, _ in places}) < len(places)


def test_networks_with_nothing_in_common_cost_no_more_than_apart(plain: Exported, grouped: Exported) -> None:
    files = {"plain": plain.int8.path.read_bytes(), "grouped": grouped.int8.path.read_bytes()}
    assert len(merge(files)) < sum(map(len, files.values()))


def test_a_network_twice_costs_its_tables_only(plain: Exported) -> None:
    once = plain.int8.path.read_bytes()
    both = merge({"one": once, "other": once})
    assert weights_of(both) == weights_of(once)
    assert len(both) < len(once) + TABLES * (len(once) - sum(map(len, weights_of(once))))


def test_merging_is_deterministic_and_labels_can_follow(parts: Mapping[str, Artifact], merged: Path) -> None:
    again = merge({name: artifact.path.read_bytes() for name, artifact in parts.items()})
    assert again == merged.read_bytes()
    labelled = merged.with_name("labelled.tflite")
    labelled.write_bytes(with_labels(again, ("stop", "ice")))
    with zipfile.ZipFile(labelled) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "stop\nice\n"
    assert read_graph(labelled, signature="narrow") == read_graph(parts["narrow"].path)


def test_verification_holds_each_signature_against_its_own_module(
    parts: Mapping[str, Artifact], networks: Mapping[str, Network], merged: Path
) -> None:
    for name, artifact in parts.items():
        together = replace(artifact, path=merged, signature=name)
        network = networks[name]
        passed = verify(network.model, together, network.x_NHWC, min_agreement=0.9)
        assert {check.name for check in passed.checks} >= {"MACs", "fp32 cosine"}
    wrong = networks["middle"]
    with pytest.raises(VerificationError, match=r"model\.tflite \(wide, "):
        verify(wrong.model, replace(parts["middle"], path=merged, signature="wide"), wrong.x_NHWC, min_agreement=0.9)


@pytest.mark.parametrize("signature", ["Wide", "", "wide/narrow", "serving_default"])
def test_an_unknown_signature_is_answered_with_those_there_are(merged: Path, signature: str) -> None:
    for read in (read_graph, read_metadata):
        with pytest.raises(UsageError, match=r"no variant") as caught:
            read(merged, signature=signature)
        assert caught.value.hint == "it has wide, middle, narrow"
    with pytest.raises(BadInputError):
        run_in_subprocess(merged, np.zeros((1, 32, 32, 3), np.float32), signature=signature)


def test_a_merged_file_has_no_one_graph(merged: Path) -> None:
    with pytest.raises(BadInputError, match="holds 3 graphs") as caught:
        read_graph(merged)
    assert "variant" in caught.value.hint


def test_what_is_already_merged_is_not_merged_again(merged: Path) -> None:
    with pytest.raises(BadInputError, match=r'signature "a".* 3 graphs and 3 signatures'):
        merge({"a": merged.read_bytes()})


@pytest.mark.parametrize("content", [b"", b"no network", bytes(range(256)) * 8, b"\x20\x00\x00\x00TFL3" * 40])
def test_what_is_no_network_is_refused(plain: Exported, content: bytes) -> None:
    with pytest.raises(BadInputError, match='signature "b"'):
        merge({"a": plain.int8.path.read_bytes(), "b": content})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 12_000), value=st.binary(min_size=1, max_size=8), end=st.integers(0, 60_000))
def test_a_damaged_part_gives_one_clear_error_or_is_merged(plain: Exported, at: int, value: bytes, end: int) -> None:
    content = bytearray(plain.int8.path.read_bytes())
    content[at : at + len(value)] = value
    with suppress(BadInputError):
        merge({"a": plain.int8.path.read_bytes(), "b": bytes(content[:end])})


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 12_000), value=st.binary(min_size=1, max_size=8), end=st.integers(0, 60_000))
def test_a_damaged_merged_file_gives_one_clear_error_or_is_read(
    merged: Path, tmp_path: Path, at: int, value: bytes, end: int
) -> None:
    content = bytearray(merged.read_bytes())
    content[at : at + len(value)] = value
    path = tmp_path / "model.tflite"
    path.write_bytes(content[:end])
    for read in (read_graph, read_metadata):
        with suppress(BadInputError, UsageError):
            read(path, signature="narrow")


def test_a_file_cut_inside_its_weights_is_refused(merged: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(merged.read_bytes()[: -2 * ALIGNMENT])
    with pytest.raises(BadInputError):
        run_in_subprocess(path, np.zeros((1, 32, 32, 3), np.float32), signature="wide")
    with pytest.raises(BadInputError, match="damaged"):
        read_graph(path, signature="wide")


byte_strings = st.binary(max_size=60) | st.text("ab", max_size=40).map(str.encode)


@given(st.lists(byte_strings | st.lists(byte_strings, max_size=3).map(b"".join)))
def test_any_contents_come_back_and_cost_no_more_than_apart(contents: list[bytes]) -> None:
    region, places = overlay(contents)
    assert set(places) == set(contents)
    for content, place in places.items():
        assert region[place : place + len(content)] == content
        assert place % ALIGNMENT == 0
    distinct = set(contents)
    kept = [one for one in distinct if not any(other != one and other.startswith(one) for other in distinct)]
    assert len(region) <= sum(len(one) + -len(one) % ALIGNMENT for one in kept)
    assert overlay(reversed(contents)) == (region, places)


@given(st.binary(max_size=400), st.data())
def test_beginnings_of_one_content_cost_nothing(content: bytes, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, len(content))))
    region, places = overlay([content, *(content[:end] for end in ends)])
    assert region == content
    assert set(places.values()) == {0}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.lists(st.integers(0, 3), max_size=300), min_size=2, max_size=2), seed=st.integers(0, 99))
def test_any_weights_read_back_exactly(plain: Exported, contents: list[list[int]], seed: int) -> None:
    """Two copies of a network whose weights were replaced: by a beginning of common noise, then anything."""
    noise = np.random.default_rng(seed).integers(0, 256, 400).astype(np.uint8)
    files, expected = {}, {}
    for name, own in zip(("a", "b"), contents, strict=True):
        model = unpack(plain.int8.path.read_bytes(), name=name)
        tensors = [tensor for tensor in model.subgraphs[0].tensors if model.buffers[tensor.buffer].data is not None]
        for length, tensor in enumerate(tensors):
            data = np.concatenate([noise[: 37 * (length % 4)], np.array(own[: 9 * length], np.uint8)])
            model.buffers[tensor.buffer].data = data
        files[name] = pack(model)
        expected[name] = constants_of(unpack(files[name], name=name), 0)
    both = merge(files)
    model = unpack(both, name="both")
    for index, name in enumerate(files):
        assert constants_of(model, index) == expected[name]
    assert len(both) < sum(map(len, files.values()))


def constants_of(model: Any, subgraph: int) -> list[bytes]:
    datas = [model.buffers[tensor.buffer].data for tensor in model.subgraphs[subgraph].tensors]
    return [b"" if data is None else data.tobytes() for data in datas]


def weights_of(content: bytes) -> list[bytes]:
    """What the tensors hold, each buffer once."""
    model = unpack(content, name="content")
    used = sorted({tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors})
    return sorted(data.tobytes() for index in used if (data := model.buffers[index].data) is not None)


def raw_buffers(content: bytes) -> list[Any]:
    from ai_edge_litert import schema_py_generated as schema

    return list(schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).buffers)

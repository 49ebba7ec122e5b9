from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from exported_networks import Exported
from flatbuffers.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.errors import BadInputError
from edgekit.core.model import Model, Preprocessing
from edgekit.exporters.flatbuffer import pack, unpack
from edgekit.exporters.metadata import embed, read_metadata
from edgekit.exporters.runner import run_in_subprocess

labels = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20), min_size=1, max_size=9
)
finite = st.floats(-10, 10, width=32)
triples = st.tuples(finite, finite, finite)
positive = st.floats(0.125, 10, width=32)


def test_labels_preprocessing_and_provenance_come_back(exported: Exported) -> None:
    for artifact in (exported.int8, exported.fp32):
        metadata = read_metadata(artifact.path)
        assert metadata.labels == exported.model.labels
        assert metadata.preprocessing == exported.model.preprocessing
        assert metadata.provenance == exported.model.provenance


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=labels,
    size=st.integers(1, 4096),
    mean=triples,
    std=st.tuples(positive, positive, positive),
    provenance=st.dictionaries(st.text(max_size=9), st.text(max_size=9)),
)
def test_any_labels_and_preprocessing_come_back(
    plain: Exported,
    tmp_path: Path,
    labels: list[str],
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    provenance: Mapping[str, str],
) -> None:
    provenance = {key: value for key, value in provenance.items() if key.isprintable() and value.isprintable()}
    preprocessing = Preprocessing(height=size, width=size + 1, mean=mean, std=std)
    model = Model(
        module=plain.model.module,
        input_shape=plain.model.input_shape,
        labels=tuple(labels),
        preprocessing=preprocessing,
        operators=(),
        provenance=provenance,
    )
    path = tmp_path / "model.tflite"
    path.write_bytes(embed(without_metadata(plain.int8.path), model))
    metadata = read_metadata(path)
    assert (metadata.labels, metadata.preprocessing) == (tuple(labels), preprocessing)
    assert metadata.provenance == provenance
    assert zipfile.ZipFile(path).read("labels.txt").decode().split("\n")[:-1] == labels


def test_labels_txt_is_read_by_any_unzip(exported: Exported) -> None:
    with zipfile.ZipFile(exported.int8.path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == "\n".join(exported.model.labels) + "\n"


def test_the_standard_metadata_says_how_to_feed_the_network(grouped: Exported) -> None:
    content = buffer_named(grouped.int8.path, b"TFLITE_METADATA")
    assert content[4:8] == b"M001"
    model = Table(content, struct.unpack_from("<I", content)[0])
    assert text(model, 7) == "1.0.0"
    (subgraph,) = tables(model, 3)
    (image,), (probabilities,) = tables(subgraph, 2), tables(subgraph, 3)
    assert text(image, 0) == "image"
    content_table = table(image, 3)
    assert integer(content_table, 0, "<B") == 2  # ImageProperties
    properties = table(content_table, 1)
    assert integer(properties, 0, "<b") == 1  # RGB
    size = table(properties, 1)
    assert (integer(size, 0, "<I"), integer(size, 1, "<I")) == (32, 32)
    (unit,) = tables(image, 4)
    assert integer(unit, 0, "<B") == 1  # NormalizationOptions
    normalization = table(unit, 1)
    np.testing.assert_allclose(floats(normalization, 0), [102, 127.5, 153])
    np.testing.assert_allclose(floats(normalization, 1), [51, 63.75, 76.5])
    np.testing.assert_allclose([*floats(table(image, 5), 1), *floats(table(image, 5), 0)], [-2, 3])
    (file,) = tables(probabilities, 6)
    assert text(file, 0) == "labels.txt"
    assert integer(file, 2, "<b") == 2  # TENSOR_AXIS_LABELS


def test_the_network_computes_the_same_with_metadata(plain: Exported, tmp_path: Path) -> None:
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(without_metadata(plain.int8.path))
    x = plain.x_NHWC[:5]
    with_metadata = run_in_subprocess(plain.int8.path, x).outputs
    np.testing.assert_array_equal(run_in_subprocess(bare, x).outputs, with_metadata)


def test_weights_are_aligned_and_inside_the_flatbuffer(exported: Exported) -> None:
    content = exported.fp32.path.read_bytes()
    root = schema.Model.GetRootAs(content, 0)
    for index in range(root.BuffersLength()):
        buffer = root.Buffers(index)
        assert buffer.Offset() == 0
        if not buffer.DataIsNone():
            assert buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0


def test_a_file_of_another_maker_has_no_edgekit_metadata(plain: Exported, tmp_path: Path) -> None:
    path = tmp_path / "bare.tflite"
    path.write_bytes(without_metadata(plain.int8.path))
    with pytest.raises(BadInputError, match="no edgekit metadata"):
        read_metadata(path)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"not JSON",
        b"[]",
        b"[" * 100_000,
        b"null",
        b'{"schema_version": 99}',
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "labels": 3, "preprocessing": {}, "provenance": {}}',
        b'{"schema_version": 1, "labels": ["a"], "preprocessing": {"height": "x"}, "provenance": []}',
        b"\xff\xfe\x00",
    ],
)
def test_wrong_metadata_is_refused(plain: Exported, tmp_path: Path, record: bytes) -> None:
    model = unpack(plain.int8.path.read_bytes(), name="model")
    (ours,) = [entry for entry in model.metadata if entry.name == b"edgekit"]
    model.buffers[ours.buffer].data = np.frombuffer(record, np.uint8)
    path = tmp_path / "model.tflite"
    path.write_bytes(pack(model))
    with pytest.raises(BadInputError, match=str(path)):
        read_metadata(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 4000), value=st.binary(min_size=1, max_size=8), end=st.integers(0, 40_000))
def test_a_damaged_file_gives_one_clear_error_or_is_read(
    plain: Exported, tmp_path: Path, at: int, value: bytes, end: int
) -> None:
    content = bytearray(plain.int8.path.read_bytes())
    content[at : at + len(value)] = value
    path = tmp_path / "model.tflite"
    path.write_bytes(content[: len(content) - end])
    with suppress(BadInputError):
        assert read_metadata(path).labels


def without_metadata(path: Path) -> bytes:
    model = unpack(path.read_bytes(), name="model")
    model.metadata = [entry for entry in model.metadata if entry.name not in (b"edgekit", b"TFLITE_METADATA")]
    return pack(model)


def buffer_named(path: Path, name: bytes) -> bytearray:
    model = unpack(path.read_bytes(), name="model")
    (entry,) = [entry for entry in model.metadata if entry.name == name]
    return bytearray(model.buffers[entry.buffer].data.tobytes())


# An independent reader of flatbuffer tables: the number is the field's place in the public schema.


def place(of: Table, field: int) -> int:
    offset = of.Offset(4 + 2 * field)
    assert offset, f"field {field} is not set"
    return of.Pos + offset


def table(of: Table, field: int) -> Table:
    return Table(of.Bytes, of.Indirect(place(of, field)))


def tables(of: Table, field: int) -> list[Table]:
    relative = place(of, field) - of.Pos
    start = of.Vector(relative)
    return [Table(of.Bytes, of.Indirect(start + 4 * i)) for i in range(of.VectorLen(relative))]


def text(of: Table, field: int) -> str:
    return bytes(of.String(place(of, field))).decode()


def floats(of: Table, field: int) -> Any:
    return of.GetVectorAsNumpy(flatbuffers.number_types.Float32Flags, place(of, field) - of.Pos)


def integer(of: Table, field: int, form: str) -> int:
    return int(struct.unpack_from(form, of.Bytes, place(of, field))[0])

"""TFLite's standard metadata flatbuffer, version 1.0 of `metadata_schema.fbs` in tensorflow/tflite-support.

Tables are written field by field: the number is the field's place in its table in that schema. A union takes two
places, its type and its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.core.images import value_range
from edgekit.core.model import Preprocessing

if TYPE_CHECKING:
    from flatbuffers import Builder

_TENSOR_AXIS_LABELS = 2
_RGB = 1
_FEATURE_PROPERTIES = 1
_IMAGE_PROPERTIES = 2
_NORMALIZATION_OPTIONS = 1


def input_name(preprocessing: Preprocessing | None) -> str:
    return "input" if preprocessing is None else "image"


def output_name(output_range: tuple[float, float] | None) -> str:
    return "probabilities" if output_range == (0, 1) else "output"


def standard_metadata(
    labels: Sequence[str],
    preprocessing: Preprocessing | None,
    output_range: tuple[float, float] | None,
    labels_file: str,
) -> bytes:
    """One input, an image where it has a preprocessing, and one output a label; `labels_file` names the file with one label a
    line."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    subgraph = _table(
        builder,
        {
            2: _tables(builder, [_input(builder, preprocessing)]),
            3: _tables(builder, [_output(builder, labels, output_range, labels_file)]),
        },
    )
    model = _table(
        builder,
        {
            0: builder.CreateString("edgekit image classifier" if preprocessing is not None and labels else "edgekit"),
            3: _tables(builder, [subgraph]),
            7: builder.CreateString("1.0.0"),
        },
    )
    builder.Finish(model, file_identifier=b"M001")
    return bytes(builder.Output())


def _input(builder: Builder, preprocessing: Preprocessing | None) -> int:
    if preprocessing is None:
        return _table(builder, {0: builder.CreateString(input_name(None))})
    size = _table(builder, {}, integers={0: preprocessing.width, 1: preprocessing.height})
    properties = _table(builder, {1: size}, enums={0: _RGB})
    normalization = _table(
        builder,
        {
            0: _floats(builder, [255 * mean for mean in preprocessing.mean]),
            1: _floats(builder, [255 * std for std in preprocessing.std]),
        },
    )
    unit = _table(builder, {1: normalization}, enums={0: _NORMALIZATION_OPTIONS})
    low, high = value_range(preprocessing)
    return _table(
        builder,
        {
            0: builder.CreateString(input_name(preprocessing)),
            3: _table(builder, {1: properties}, enums={0: _IMAGE_PROPERTIES}),
            4: _tables(builder, [unit]),
            5: _stats(builder, low, high),
        },
    )


def _output(builder: Builder, labels: Sequence[str], output_range: tuple[float, float] | None, labels_file: str) -> int:
    files = [_labels(builder, len(labels), labels_file)] if labels else []
    fields = {
        0: builder.CreateString(output_name(output_range)),
        3: _table(builder, {1: _table(builder, {})}, enums={0: _FEATURE_PROPERTIES}),
    }
    if output_range is not None:
        fields[5] = _stats(builder, *output_range)
    if files:
        fields[6] = _tables(builder, files)
    return _table(builder, fields)


def _labels(builder: Builder, number: int, labels_file: str) -> int:
    return _table(
        builder,
        {0: builder.CreateString(labels_file), 1: builder.CreateString(f"{number} labels, one a line")},
        enums={2: _TENSOR_AXIS_LABELS},
    )


def _stats(builder: Builder, low: float, high: float) -> int:
    return _table(builder, {0: _floats(builder, [high]), 1: _floats(builder, [low])})


def _table(
    builder: Builder,
    offsets: dict[int, int],
    *,
    enums: dict[int, int] | None = None,
    integers: dict[int, int] | None = None,
) -> int:
    """A table of references (`offsets`), one-byte enums and uint32 `integers`."""
    enums, integers = enums or {}, integers or {}
    builder.StartObject(1 + max([*offsets, *enums, *integers], default=-1))
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, value in integers.items():
        builder.PrependUint32Slot(field, value, 0)
    for field, value in enums.items():
        builder.PrependInt8Slot(field, value, 0)
    return int(builder.EndObject())


def _tables(builder: Builder, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _floats(builder: Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())

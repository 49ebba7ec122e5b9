"""Parquet in the convention of `datasets`: columns `image` (struct of bytes and path), `label`, and where there is one `track`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.assembler.training.data.source import Content, Source
from edgekit.core.errors import BadInputError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 256


def parquet_source(paths: tuple[Path, ...], path: Path) -> Source:
    """All rows of the files `paths`, found at `path`. Raises BadInputError where a file or a column is not as it should be."""
    tables = [_labels(file) for file in paths]
    names = {_class_names(file, table.schema) for file, table in zip(paths, tables, strict=True)}
    if len(names) > 1:
        raise BadInputError(
            f"the Parquet files at {path} disagree on the names of their classes",
            hint="write them with the same class names",
        )
    source = Source(
        path=path,
        form="Parquet",
        names=names.pop(),
        y_N=np.concatenate([_integers(table, "label") for table in tables]),
        group_N=np.concatenate([_integers(table, "track") for table in tables]),
        places=tuple(
            f"{file.name}, row {row}" for file, table in zip(paths, tables, strict=True) for row in range(len(table))
        ),
        contents=lambda: chain.from_iterable(map(_pictures, paths)),
    )
    if not len(source):
        raise BadInputError(f"the Parquet files at {path} hold no rows", hint="give at least one image")
    return source


def _labels(path: Path) -> pa.Table:
    """All columns but the pictures, with the schema of the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    hint = "expected columns image and label"
    with _reading(path), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        for name in ("image", "label"):
            if name not in schema.names:
                raise BadInputError(f"cannot read {path}: it has no column {name}", hint=hint)
        image = schema.field("image").type
        if not pa.types.is_struct(image) or image.get_field_index("bytes") < 0:
            raise BadInputError(
                f"cannot read {path}: column image is of type {image}",
                hint="expected a struct with the encoded picture in bytes",
            )
        table = file.read(columns=[name for name in ("label", "track") if name in schema.names])
    for name in table.column_names:
        if not pa.types.is_integer(table[name].type) or table[name].null_count:
            raise BadInputError(
                f"{path}: column {name} must hold a whole number in every row", hint="number labels and tracks"
            )
    return table


def _integers(table: pa.Table, column: str) -> NDArray[np.int64]:
    if column not in table.column_names:
        return np.full(len(table), -1, np.int64)
    values: NDArray[np.int64] = table[column].to_numpy().astype(np.int64)
    return values


def _class_names(path: Path, schema: pa.Schema) -> tuple[str, ...]:
    """Of the `ClassLabel` that `datasets` writes into the schema; empty where there is none."""
    try:
        features: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = features.get("info", {}).get("features", {}).get("label", {}).get("names") or ()
    except (ValueError, AttributeError) as error:
        raise BadInputError(
            f"{path}: the names of its classes (huggingface metadata) cannot be read", hint="write the file again"
        ) from error
    return tuple(map(str, names))


def _pictures(path: Path) -> Iterator[Content]:
    """The bytes of each row; a few at a time, for the pictures of a data set may be larger than memory."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with _reading(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["image.bytes"]):
            yield from pc.struct_field(batch.column("image"), "bytes").to_pylist()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"cannot read {path}: {error}", hint="expected columns image and label") from error

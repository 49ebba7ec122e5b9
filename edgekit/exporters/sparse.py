"""Weights with zeros in TFLite's sparse encoding: the same network in a smaller file.

A sparse tensor stores only its non-zero values, and a DENSIFY operator puts the zeros back before another operator reads it.
Its last axis, that of the channels, is compressed sparse rows (`SPARSE_CSR` in the schema's `DimensionMetadata`): where each row
begins among the values, and the place in its row of each value. All other axes are `DENSE`.

Without DENSIFY, LiteRT 2.3 takes the non-zero values for the whole tensor and reads on behind their end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.exporters.flatbuffer import operator_name, pack, unpack
from edgekit.exporters.sparse_kernels import bears_sparse_weights

_READS_WEIGHTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Operators whose second input may be sparse."""

_TABLES_BYTES = 256
"""At most what a sparse tensor costs beside its numbers: tables, a dense tensor, an operator."""


def sparsify(tflite: bytes) -> bytes:
    """The same network, those float32 weights sparse that take fewer bytes so. Where none do, the file as it was, and also where
    XNNPACK would compute other outputs (`edgekit.exporters.sparse_kernels`).

    Raises BadInputError for a damaged file.
    """
    model = unpack(tflite, name="the network to store sparse")
    (subgraph,) = model.subgraphs
    smaller = {index: w for index, w in _weights(model, subgraph) if 0 < sparse_bytes(w) < w.nbytes}
    if not smaller or not bears_sparse_weights(model):
        return tflite
    _store(model, subgraph, smaller)
    content = pack(model)
    return content if len(content) < len(tflite) else tflite


def _weights(model: Any, subgraph: Any) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Index and values of the constants that are weights and share their bytes with no other tensor."""
    from ai_edge_litert.schema_py_generated import TensorType

    users = Counter(tensor.buffer for tensor in subgraph.tensors)
    for index in sorted({int(operator.inputs[1]) for operator in _reading_weights(model, subgraph)}):
        tensor = subgraph.tensors[index]
        data = model.buffers[tensor.buffer].data
        is_plain = tensor.type == TensorType.FLOAT32 and tensor.sparsity is None and users[tensor.buffer] == 1
        if data is not None and is_plain:
            yield index, np.frombuffer(data.tobytes(), np.float32).reshape(tensor.shape)


def _reading_weights(model: Any, subgraph: Any) -> list[Any]:
    return [
        operator
        for operator in subgraph.operators
        if operator_name(model.operatorCodes[operator.opcodeIndex]) in _READS_WEIGHTS
    ]


def _rows(w: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each row begins among the non-zero values, and of each of these the place in its row."""
    is_kept = w.reshape(-1, w.shape[-1]) != 0
    return np.concatenate([[0], is_kept.sum(1).cumsum()]), is_kept.nonzero()[1]


def _narrowest(numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """The schema has vectors of uint8, uint16 and int32."""
    most = numbers.max(initial=0)
    return numbers.astype(np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.int32)


def sparse_bytes(w: npt.NDArray[np.float32]) -> int:
    """Of a weight tensor, its input channels last, in the sparse encoding; 0 where nothing would be left to store."""
    values = int(np.count_nonzero(w)) * w.itemsize
    return values and values + sum(_narrowest(numbers).nbytes for numbers in _rows(w)) + _TABLES_BYTES


def _store(model: Any, subgraph: Any, weights: Mapping[int, npt.NDArray[np.float32]]) -> None:
    """Makes these tensors sparse, and puts the operators that make them dense again first."""
    from ai_edge_litert import schema_py_generated as schema

    code = schema.BuiltinOperator.DENSIFY
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code, version=1))
    dense: dict[int, int] = {}
    densify = []
    for index, w in weights.items():
        tensor = subgraph.tensors[index]
        dense[index] = len(subgraph.tensors)
        subgraph.tensors.append(
            schema.TensorT(shape=tensor.shape, type=tensor.type, name=f"dense{index}", hasRank=tensor.hasRank)
        )
        densify.append(
            schema.OperatorT(
                opcodeIndex=len(model.operatorCodes) - 1,
                inputs=np.array([index], np.int32),
                outputs=np.array([dense[index]], np.int32),
                builtinOptionsType=schema.BuiltinOptions.DensifyOptions,
                builtinOptions=schema.DensifyOptionsT(),
            )
        )
        tensor.sparsity = _encoding(w)
        model.buffers[tensor.buffer] = schema.BufferT(data=w[w != 0].view(np.uint8))
    for operator in _reading_weights(model, subgraph):
        first, weights_read, *rest = map(int, operator.inputs)
        operator.inputs = np.array([first, dense.get(weights_read, weights_read), *rest], np.int32)
    subgraph.operators = [*densify, *subgraph.operators]


def _encoding(w: npt.NDArray[np.float32]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    vectors = {
        np.dtype(np.uint8): (schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
        np.dtype(np.uint16): (schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
        np.dtype(np.int32): (schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
    }
    begins, places = map(_narrowest, _rows(w))
    (begins_type, begins_vector), (places_type, places_vector) = vectors[begins.dtype], vectors[places.dtype]
    channels = schema.DimensionMetadataT(
        format=schema.DimensionType.SPARSE_CSR,
        arraySegmentsType=begins_type,
        arraySegments=begins_vector(values=begins),
        arrayIndicesType=places_type,
        arrayIndices=places_vector(values=places),
    )
    others = [schema.DimensionMetadataT(format=schema.DimensionType.DENSE, denseSize=length) for length in w.shape[:-1]]
    return schema.SparsityParametersT(traversalOrder=np.arange(w.ndim, dtype=np.int32), dimMetadata=[*others, channels])

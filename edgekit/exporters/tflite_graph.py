"""What a .tflite file really executes, read from its flatbuffer without running it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.core.errors import BadInputError
from edgekit.core.graph import Graph, TensorSpec
from edgekit.core.operators import Operator, OperatorKind, Tensor
from edgekit.exporters.flatbuffer import operator_name, unpack
from edgekit.exporters.merge import part

_KINDS = {
    "CONV_2D": OperatorKind.CONV,
    "DEPTHWISE_CONV_2D": OperatorKind.DEPTHWISE,
    "FULLY_CONNECTED": OperatorKind.DENSE,
    "ADD": OperatorKind.ADD,
    "MEAN": OperatorKind.POOL,
    "AVERAGE_POOL_2D": OperatorKind.POOL,
    "MAX_POOL_2D": OperatorKind.POOL,
}


def read_graph(path: Path, *, signature: str | None = None) -> Graph:
    """The operators of a file, or of one signature of a merged file, in execution order.

    Weights stored sparse are weights like others: of the DENSIFY operators, which run once when the file is loaded, only the
    census tells.

    Raises BadInputError where the file is damaged, or holds several graphs and none is chosen, UsageError where it has no
    such signature.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint="give a .tflite file") from error
    model = unpack(content, name=str(path))
    try:
        model = model if signature is None else part(model, signature, name=str(path))
        if len(model.subgraphs) != 1:
            raise BadInputError(
                f"{path} holds {len(model.subgraphs)} graphs, expected 1",
                hint="give one variant of a merged file; networks with control flow are not supported",
            )
        return _graph(model)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise BadInputError(f"the graph in {path} is damaged: {error}", hint="make or copy the file again") from error


def _graph(model: Any) -> Graph:
    (subgraph,) = model.subgraphs
    named = [(operator_name(model.operatorCodes[record.opcodeIndex]), record) for record in subgraph.operators]
    reader = _Reader(model, subgraph)
    return Graph(
        operators=tuple(
            reader.operator(name, record, step) for step, (name, record) in enumerate(named) if name != "DENSIFY"
        ),
        census=Counter(name for name, _ in named),
        dtypes=Counter(dtype for _, record in named for dtype in reader.dtypes(record)),
        inputs=tuple(reader.spec(index) for index in subgraph.inputs),
        outputs=tuple(reader.spec(index) for index in subgraph.outputs),
    )


class _Reader:
    """Looks up what the index numbers of one subgraph stand for."""

    def __init__(self, model: Any, subgraph: Any) -> None:
        self._tensors = subgraph.tensors
        self._constants = {
            index for index, tensor in enumerate(self._tensors) if model.buffers[tensor.buffer].data is not None
        }
        for (
            record
        ) in subgraph.operators:  # weights may be stored in fewer bits than they are computed in, or without zeros
            if operator_name(model.operatorCodes[record.opcodeIndex]) in {"DEQUANTIZE", "DENSIFY"}:
                self._constants.update(record.outputs if record.inputs[0] in self._constants else ())

    def operator(self, name: str, record: Any, step: int) -> Operator:
        kind = self._kind(name, record)
        read = [index for index in record.inputs if index >= 0]
        output_shape = self._shape(record.outputs[0])
        filter_shape: tuple[int, ...] = ()
        biases = macs = 0
        if kind in (OperatorKind.CONV, OperatorKind.DEPTHWISE, OperatorKind.DENSE):
            filter_shape = self._shape(record.inputs[1])
            biases = math.prod(self._shape(read[2])) if len(read) > 2 else 0
            positions = math.prod(output_shape) // output_shape[-1]
            macs = positions * math.prod(filter_shape)
        elif name == "TRANSPOSE_CONV":
            filter_shape, input_shape = self._shape(record.inputs[1]), self._shape(record.inputs[2])
            biases = math.prod(self._shape(read[3])) if len(read) > 3 else 0
            macs = math.prod(input_shape) // input_shape[-1] * math.prod(filter_shape)
        elif name == "FULLY_CONNECTED":
            macs = math.prod(output_shape) * self._shape(record.inputs[1])[-1]
        elif name == "BATCH_MATMUL":
            summed = self._shape(record.inputs[0])[-2 if record.builtinOptions.adjX else -1]
            macs = math.prod(output_shape) * summed
        return Operator(
            name=f"{name.lower()}_{step}",
            kind=kind,
            inputs=tuple(self._tensor(index) for index in read if index not in self._constants),
            output=self._tensor(record.outputs[0]),
            macs=macs,
            weights=math.prod(filter_shape) if filter_shape else 0,
            biases=biases,
            channels=output_shape[-1] if output_shape else 0,
            kernel=filter_shape[1] if len(filter_shape) == 4 else getattr(record.builtinOptions, "filterHeight", 1),
            stride=getattr(record.builtinOptions, "strideH", 1),
        )

    def _kind(self, name: str, record: Any) -> OperatorKind:
        """A product of two activations is no dense layer, though the converter writes one of batch 1 so."""
        kind = _KINDS.get(name, OperatorKind.OTHER)
        of_activations = kind is OperatorKind.DENSE and record.inputs[1] not in self._constants
        return OperatorKind.OTHER if of_activations else kind

    def dtypes(self, record: Any) -> set[str]:
        return {_dtype_name(self._tensors[index].type) for index in (*record.inputs, *record.outputs) if index >= 0}

    def spec(self, index: int) -> TensorSpec:
        tensor = self._tensors[index]
        quantised = tensor.quantization is not None and tensor.quantization.scale is not None
        return TensorSpec(
            name=(tensor.name or b"").decode(),
            shape=self._shape(index),
            dtype=_dtype_name(tensor.type),
            scale=float(tensor.quantization.scale[0]) if quantised else None,
            zero_point=int(tensor.quantization.zeroPoint[0]) if quantised else None,
        )

    def _tensor(self, index: int) -> Tensor:
        return Tensor(name=f"t{index}", elements=math.prod(self._shape(index)))

    def _shape(self, index: int) -> tuple[int, ...]:
        shape = self._tensors[index].shape
        return tuple(int(length) for length in shape) if shape is not None else ()


@cache
def _dtype_names() -> Mapping[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}


def _dtype_name(number: int) -> str:
    return _dtype_names()[number].lower()

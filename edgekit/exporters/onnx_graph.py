"""What an ONNX file executes, read without running it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import BadInputError, MissingExtraError
from edgekit.core.graph import Graph, TensorSpec
from edgekit.core.operators import Operator, OperatorKind, Tensor

# Executed as part of the operator that they follow.
_FUSED = frozenset({"BatchNormalization", "Clip", "Relu"})
_HOSTS = frozenset({"Add", "Conv", "ConvTranspose", "Gemm", "MatMul"})
# Nothing is executed for them: what they give is what they got.
_ALIASES = frozenset({"DequantizeLinear", "Dropout", "Identity", "QuantizeLinear"})
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMean"})
_DOMAINS = frozenset({"", "ai.onnx"})


def read_onnx_graph(path: Path) -> Graph:
    """The operators of a file in execution order: constants folded, what no output needs left out, normalisation and
    activation fused, and the pairs around quantised operators taken as their precision.

    Free first dimensions are taken as batch 1. Raises BadInputError for a file that is damaged, or whose other shapes are free,
    MissingExtraError without the onnx library.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(
            "reading ONNX files needs the onnx library", hint="pip install 'edgekit[onnx]'"
        ) from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint="give an .onnx file") from error
    except Exception as error:
        raise BadInputError(f"{path} is not an ONNX file: {error}", hint="give an .onnx file") from error
    if not model.graph.node:
        raise BadInputError(f"{path} is not an ONNX file: it has no operators", hint="give an .onnx file")
    for value in model.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and not dimensions[0].dim_value:
            dimensions[0].dim_value = 1
    try:
        return _Reader(onnx.shape_inference.infer_shapes(model, data_prop=True), onnx).graph()
    except _FreeShapeError as error:
        raise BadInputError(
            f"{path} does not say the shape of {error}", hint="export it with fixed shapes, or simplify it first"
        ) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise BadInputError(f"the graph in {path} is damaged: {error}", hint="make or copy the file again") from error


class _FreeShapeError(Exception):
    """Its text names the tensor."""


class _Reader:
    """Looks up what the names of one graph stand for."""

    def __init__(self, model: Any, onnx: Any) -> None:
        graph, self._onnx = model.graph, onnx
        self._graph = graph
        self._constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._types = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}
        self._quantised = any(node.op_type == "QuantizeLinear" for node in graph.node)
        self._alias: dict[str, str] = {}

    def graph(self) -> Graph:
        nodes = self._executed(self._live(self._graph.node))
        operators = tuple(self._operator(node, step) for step, node in enumerate(nodes))
        dtype = "int8" if self._quantised else "float32"
        return Graph(
            operators=operators,
            census=Counter(self._name(node) for node in nodes),
            dtypes={dtype: len(operators)},
            inputs=tuple(self._spec(value.name) for value in self._graph.input if value.name not in self._constants),
            outputs=tuple(self._spec(value.name) for value in self._graph.output),
        )

    def _live(self, nodes: Sequence[Any]) -> list[Any]:
        """Those that an output depends on."""
        wanted = {value.name for value in self._graph.output}
        kept = []
        for node in reversed(nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                kept.append(node)
        return kept[::-1]

    def _executed(self, nodes: Iterable[Any]) -> list[Any]:
        """Without constants, aliases and what is fused into the node before."""
        nodes = list(nodes)
        readers = Counter(name for node in nodes for name in node.input)
        readers.update(value.name for value in self._graph.output)
        made_by: dict[str, Any] = {}
        kept = []
        for node in nodes:
            given = [name for name in node.input if name]
            first = self._source(given[0]) if given else ""
            if node.op_type in {"Constant", "Shape"} or (given and all(name in self._constants for name in given)):
                self._constants.update((name, self._shape(name)) for name in node.output)
            elif node.op_type in _ALIASES:
                self._alias[node.output[0]] = first
                readers[first] += readers[node.output[0]] - 1
            elif node.op_type in _FUSED and first in made_by and readers[first] == 1:
                self._alias[node.output[0]] = first
                readers[first] = readers[node.output[0]]
            else:
                kept.append(node)
                if node.op_type in _HOSTS:
                    made_by[node.output[0]] = node
        return kept

    def _operator(self, node: Any, step: int) -> Operator:
        read = [self._source(name) for name in node.input if name]
        activations = [name for name in read if name not in self._constants]
        attributes = {attribute.name: self._onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        output = self._shape(node.output[0])
        kind, weights, biases, macs = self._arithmetic(node, read, output, attributes)
        kernel = self._constants[read[1]][2:] if weights and len(self._constants[read[1]]) == 4 else ()
        kernel = kernel or tuple(attributes.get("kernel_shape", ()))
        return Operator(
            name=f"{node.op_type.lower()}_{step}",
            kind=kind,
            inputs=tuple(Tensor(name=name, elements=math.prod(self._shape(name))) for name in activations),
            output=Tensor(name=self._source(node.output[0]), elements=math.prod(output)),
            macs=macs,
            weights=weights,
            biases=biases,
            channels=output[1] if len(output) > 1 else 0,
            kernel=kernel[0] if kernel else 1,
            stride=attributes.get("strides", [1])[0],
        )

    def _arithmetic(
        self, node: Any, read: Sequence[str], output: Sequence[int], attributes: Mapping[str, Any]
    ) -> tuple[OperatorKind, int, int, int]:
        """(kind, weights, biases, multiply-accumulates)"""
        filters = self._constants.get(read[1]) if len(read) > 1 else None
        biases = math.prod(self._constants[read[2]]) if len(read) > 2 and read[2] in self._constants else 0
        weights = math.prod(filters or ())
        match node.op_type:
            case "Conv" if filters:
                channels = self._shape(read[0])[1]
                # One channel from one is what TFLite takes for depthwise too.
                depthwise = attributes.get("group", 1) == channels and (channels > 1 or filters[0] == 1)
                positions = math.prod(output[2:])
                return OperatorKind.DEPTHWISE if depthwise else OperatorKind.CONV, weights, biases, positions * weights
            case "ConvTranspose" if filters:
                return OperatorKind.OTHER, weights, biases, math.prod(self._shape(read[0])[2:]) * weights
            case "Gemm" | "MatMul" if filters:
                rows = math.prod(output) // output[-1]
                return OperatorKind.DENSE, weights, biases, rows * weights
            case "MatMul":
                return OperatorKind.OTHER, 0, 0, math.prod(output) * self._shape(read[0])[-1]
            case "Add":
                return OperatorKind.ADD, 0, 0, 0
            case name if name in _POOLS:
                return OperatorKind.POOL, 0, 0, 0
        return OperatorKind.OTHER, 0, 0, 0

    def _name(self, node: Any) -> str:
        return node.op_type if node.domain in _DOMAINS else f"CUSTOM {node.domain}.{node.op_type}"

    def _source(self, name: str) -> str:
        while name in self._alias:
            name = self._alias[name]
        return name

    def _shape(self, name: str) -> tuple[int, ...]:
        if name in self._constants:
            return self._constants[name]
        tensor = self._types.get(name)
        if tensor is None or not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
            raise _FreeShapeError(name)
        return tuple(int(dimension.dim_value) for dimension in tensor.shape.dim)

    def _spec(self, name: str) -> TensorSpec:
        dtype = self._onnx.TensorProto.DataType.Name(self._types[name].elem_type).lower()
        return TensorSpec(name=name, shape=self._shape(name), dtype=dtype, scale=None, zero_point=None)

"""ONNX files read as programs of ATen operators."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError, ConversionError, EdgekitError, MissingExtraError
from edgekit.core.graph import TensorSpec
from edgekit.networks.onnx_operators import OPERATORS, Node
from edgekit.networks.program import Program, Step

_FREE_BATCH: Final = 2
_OPSETS: Final = range(9, 26)
_DOMAINS: Final = frozenset({"", "ai.onnx"})
_QUANTISED: Final = re.compile(r"(Dynamic)?(De)?[Qq]uantizeLinear|QLinear\w+|ConvInteger|MatMulInteger")


def read_onnx(path: Path) -> Program:
    """The program of a file; a free batch is taken as 2, and what depends on constants alone is computed.

    Raises BadInputError where the file is damaged or its weights lie outside its folder, ConversionError for operators, opsets,
    free shapes and quantised networks that edgekit does not read, MissingExtraError without the onnx library.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(
            "reading ONNX files needs the onnx library", hint="pip install 'edgekit[onnx]'"
        ) from error
    try:
        model = onnx.load(str(path), load_external_data=False)
        _load_external_data(model, path, onnx)
        onnx.checker.check_model(model)
    except EdgekitError:
        raise
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint="give an .onnx file") from error
    except Exception as error:  # whatever protobuf and the checker raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise BadInputError(
            f"{path} is not a complete ONNX file: {reason}", hint="copy or export the file again"
        ) from error
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        return _Reader(model, onnx, path).program()
    except EdgekitError:
        raise
    except Exception as error:  # of the libraries, or of fields that are missing
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise BadInputError(
            f"the graph in {path} is damaged: {reason}", hint="copy or export the file again"
        ) from error


def _load_external_data(model: Any, path: Path, onnx: Any) -> None:
    folder = path.parent.resolve()
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
            file = folder / place
            if Path(place).is_absolute() or ".." in Path(place).parts or file.resolve().parent != folder:
                raise BadInputError(
                    f"{tensor.name} in {path} lies outside its folder, in {place}",
                    hint="put the weights file beside the .onnx file",
                )
            if not file.is_file():
                raise BadInputError(f"{path} needs the weights in {file.name}", hint="copy that file beside it")
    onnx.external_data_helper.load_external_data_for_model(model, str(folder))


class _Reader:
    """Walks the nodes of one graph, and keeps what is constant apart."""

    def __init__(self, model: Any, onnx: Any, path: Path) -> None:
        self._onnx, self._path = onnx, path
        self._opset = next((one.version for one in model.opset_import if one.domain in _DOMAINS), 0)
        if self._opset not in _OPSETS:
            raise ConversionError(
                f"{path} is of opset {self._opset}, expected {_OPSETS[0]} to {_OPSETS[-1]}",
                hint="export it with another opset_version",
            )
        self._check_operators(model.graph)
        self._initializers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._check_finite()
        self._fix_batch(model.graph)
        self._graph = model.graph
        self._constants: dict[str, npt.NDArray[Any]] = dict(self._initializers)
        self._nodes = self._with_biases(self._unfolded(model))

    def program(self) -> Program:
        steps: list[Step] = []
        for index, node in enumerate(self._nodes):
            steps += self._translated(node, index)
        outputs = tuple(value.name for value in self._graph.output)
        read = {name for step in steps for name in step.references} | set(outputs)
        used = {name: value for name, value in self._constants.items() if name in read}
        learnt = (name for name in used if name in self._initializers and used[name].dtype == np.float32)
        return Program(
            inputs=tuple(self._spec(value) for value in self._graph.input if value.name not in self._initializers),
            steps=tuple(steps),
            outputs=outputs,
            constants={name: np.ascontiguousarray(value) for name, value in used.items()},
            parameters=frozenset(learnt),
        )

    def _check_operators(self, graph: Any) -> None:
        for node in graph.node:
            if _QUANTISED.fullmatch(node.op_type):
                raise ConversionError(
                    f"{self._path} is already quantised ({node.op_type})",
                    hint="give the float32 network: edgekit quantises as its last step",
                )

    def _check_finite(self) -> None:
        for name, value in self._initializers.items():
            if value.dtype.kind == "f" and np.isnan(value).any():
                raise BadInputError(f"{name} in {self._path} holds values that are not finite", hint="export it again")

    def _fix_batch(self, graph: Any) -> None:
        for value in graph.input:
            if value.name in self._initializers:
                continue
            for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
                if not dimension.HasField("dim_value") or dimension.dim_value <= 0:
                    if axis > 0:
                        raise ConversionError(
                            f"dimension {axis} of {value.name} in {self._path} is dynamic; only the batch may be",
                            hint="export with fixed sizes: let dynamic_axes or dynamic_shapes name dimension 0 alone",
                        )
                    dimension.dim_value = _FREE_BATCH
        del graph.value_info[:]  # was stated for the free batch
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")

    def _unfolded(self, model: Any) -> list[Any]:
        """The nodes that give no constants. Shapes are inferred anew with each constant that a shape may depend on."""
        while True:
            inferred = self._onnx.shape_inference.infer_shapes(model, data_prop=True).graph
            values = (*inferred.input, *inferred.value_info, *inferred.output)
            self._types = {value.name: value.type.tensor_type for value in values}
            before = set(self._constants)
            kept = [node for node in model.graph.node if not self._fold(node)]
            if len(kept) == len(model.graph.node):
                return kept
            del model.graph.node[:]
            model.graph.node.extend(kept)
            model.graph.initializer.extend(
                self._onnx.numpy_helper.from_array(self._constants[name], name)
                for name in set(self._constants) - before
            )

    def _with_biases(self, nodes: list[Any]) -> list[Any]:
        """With each product by a constant matrix, and the sum with a constant vector that alone reads it, as one Gemm."""
        readers = Counter(name for node in nodes for name in node.input)
        readers.update(value.name for value in self._graph.output)
        products = {
            node.output[0]: node
            for node in nodes
            if node.op_type == "MatMul" and readers[node.output[0]] == 1 and self._rank(node.input[1]) == 2
        }
        joined: list[Any] = []
        for node in nodes:
            for one, other in (tuple(node.input), tuple(node.input)[::-1]) if node.op_type == "Add" else ():
                if one in products and self._rank(other) == 1:
                    product = products.pop(one)
                    joined.remove(product)
                    node = self._onnx.helper.make_node("Gemm", [*product.input, other], node.output, name=node.name)
                    break
            joined.append(node)
        return joined

    def _rank(self, name: str) -> int | None:
        """Of a constant."""
        return self._constants[name].ndim if name in self._constants else None

    def _fold(self, node: Any) -> bool:
        """Whether the node gives constants, which are computed."""
        if node.op_type == "Shape" and (shape := self._shape(node.input[0])) is not None:
            attributes = self._attributes(node)
            part = shape[attributes.get("start", 0) : attributes.get("end", len(shape))]
            self._constants[node.output[0]] = np.array(part, dtype=np.int64)
            return True
        if node.op_type == "CastLike" and node.input[0] in self._constants and node.input[1] in self._types:
            dtype = self._onnx.helper.tensor_dtype_to_np_dtype(self._types[node.input[1]].elem_type)
            self._constants[node.output[0]] = self._constants[node.input[0]].astype(dtype)
            return True
        given = [name for name in node.input if name]
        if node.op_type not in {"Constant", "ConstantOfShape", "Range"} and not given:
            return False
        if any(name not in self._constants for name in given) or node.op_type.startswith("Random"):
            return False
        if node.op_type == "Expand" and self._constants[given[0]].dtype.kind == "f":
            return False  # may be repeated for the batch, which the steps can free
        if node.domain not in _DOMAINS or any(one.HasField("g") for one in node.attribute):
            return False
        helper = self._onnx.helper
        of_type = {
            name: helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(self._constants[name].dtype), self._constants[name].shape
            )
            for name in given
        }
        outputs = [helper.make_value_info(name, self._onnx.TypeProto()) for name in node.output if name]
        graph = helper.make_graph([node], "constant", list(of_type.values()), outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self._opset)])
        from onnx.reference import ReferenceEvaluator

        values = ReferenceEvaluator(model).run(None, {name: self._constants[name] for name in given})
        names = [name for name in node.output if name]
        self._constants.update((name, np.asarray(value)) for name, value in zip(names, values, strict=True))
        return True

    def _translated(self, node: Any, index: int) -> list[Step]:
        name = f"{node.domain}.{node.op_type}" if node.domain not in _DOMAINS else node.op_type
        where = node.name or f"node {index}"
        if name not in OPERATORS:
            raise ConversionError(
                f"operator {name} (at {where} in {self._path}) is not supported",
                hint="docs/networks.md lists the supported ones; write this part of the network with them",
            )
        translation = Node(
            name=name,
            where=where,
            inputs=tuple(one or None for one in node.input),
            outputs=tuple(node.output),
            attributes=self._attributes(node),
            constants=self._constants,
            shape_of=self._known_shape,
            opset=self._opset,
        )
        OPERATORS[name](translation)
        return translation.steps

    def _attributes(self, node: Any) -> dict[str, Any]:
        values = {one.name: self._onnx.helper.get_attribute_value(one) for one in node.attribute}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}

    def _shape(self, name: str) -> tuple[int, ...] | None:
        if name in self._constants:
            return self._constants[name].shape
        found = self._types.get(name)
        if (
            found is None
            or not found.HasField("shape")
            or not all(one.HasField("dim_value") for one in found.shape.dim)
        ):
            return None
        return tuple(int(one.dim_value) for one in found.shape.dim)

    def _known_shape(self, name: str) -> tuple[int, ...]:
        shape = self._shape(name)
        if shape is None:
            raise ConversionError(
                f"{self._path} does not say the shape of {name}",
                hint="export it with fixed shapes, or simplify it first",
            )
        return shape

    def _spec(self, value: Any) -> TensorSpec:
        dtype = self._onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        dtype = {"float": "float32"}.get(dtype, dtype)
        return TensorSpec(
            name=value.name, shape=self._known_shape(value.name), dtype=dtype, scale=None, zero_point=None
        )

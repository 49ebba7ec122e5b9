"""Post-training quantisation of an ONNX file by NNCF, with layers that stay in float32."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.exporters.conversion import converting
from edgekit.exporters.onnx_file import INPUT, LAYERS, Floats, compact
from edgekit.exporters.onnx_libraries import import_nncf
from edgekit.exporters.quiet import quiet

# They move values and leave them as they are, so NNCF puts quantisers before them instead of after.
_MOVES = frozenset(
    {"Concat", "Flatten", "MaxPool", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
_TRANSPARENT = _MOVES | {"DequantizeLinear", "QuantizeLinear"}


def quantize_onnx(fp32: bytes, x_N: Floats, *, kept_float: Collection[str] = ()) -> bytes:
    """A file of `convert_onnx` with int8 weights per channel, QuantizeLinear and DequantizeLinear around its operators.

    `x_N` (N, *input_shape) are what activations are measured on: one scale and zero point for a tensor, from its least to its
    greatest value. Layers of `kept_float` are as `in_float` leaves them. Raises BadInputError for
    inputs that cannot calibrate, UsageError for a layer that the file has not, ConversionError, MissingExtraError.
    """
    if len(x_N) == 0 or not np.isfinite(x_N).all():
        raise BadInputError(
            "int8 needs calibration inputs with finite values", hint="give at least one, preferably 100"
        )
    nncf = import_nncf()
    import onnx

    proto = onnx.ModelProto.FromString(fp32)
    with converting("the network", to="int8 ONNX"), quiet():
        samples = nncf.Dataset([{INPUT: x[None]} for x in x_N])
        settings = _settings()
        quantised = nncf.quantize(
            proto,
            samples,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(x_N),
            advanced_parameters=settings,
        )
        int8 = compact(_with_unsigned_activations(_with_quantised_moves(_without_names(quantised, proto))))
        onnx.checker.check_model(int8, full_check=True)
    return in_float(int8, fp32, kept_float) if kept_float else int8


def _settings() -> Any:
    """NNCF's own are made for OpenVINO, and for more calibration inputs.

    Before depthwise convolutions it gives each channel a scale, which ONNX Runtime has no integer kernel for, and which clips what
    the few calibration inputs did not show; its correction of biases follows the same few (docs/onnx.md).
    """
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return AdvancedQuantizationParameters(
        activations_quantization_params=QuantizationParameters(per_channel=False),
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        disable_bias_correction=True,
    )


def in_float(int8: bytes, fp32: bytes, layers: Collection[str]) -> bytes:
    """`int8` with the weights, biases and unquantised inputs of some layers as in `fp32`, the file that it was made from.

    Other operators follow where all layers before them are in float32. Raises UsageError for a layer that the file has not.
    """
    import onnx

    graph = _Graph(onnx.ModelProto.FromString(int8))
    original = onnx.ModelProto.FromString(fp32).graph
    stored = {tensor.name: tensor for tensor in original.initializer}
    known = {node.name: node for node in original.node if node.op_type in LAYERS}
    names = {layer_of(node): None for node in known.values()}
    for layer in layers:
        if layer not in names:
            raise UsageError(f'the network has no layer "{layer}"', hint=did_you_mean(layer, names))
    follows: dict[str, bool] = {}
    for node in graph.proto.graph.node:
        is_layer = node.op_type in LAYERS and graph.has_weights(node)
        is_float = layer_of(node) in layers if is_layer else all(follows.get(name, True) for name in node.input)
        follows.update(dict.fromkeys(node.output, is_float))
        if is_float and is_layer:
            tensors = [stored[name] for name in known[node.name].input[1:]]
            node.input[:] = [graph.unquantised(node.input[0]), *graph.store(node.name, tensors)]
        elif is_float and node.op_type not in _TRANSPARENT:
            node.input[:] = [graph.unquantised(name) for name in node.input]
    return compact(graph.in_order())


def _with_quantised_moves(proto: Any) -> Any:
    """With quantisers behind what joins tensors, and between a layer and what moves values before it.

    NNCF has them before such operators alone. ONNX Runtime joins tensors in integers only where
    there is one behind too, and compilers look for it right before a layer. Joined tensors get a range that holds all of theirs.
    """
    import onnx
    from onnx import helper

    graph, nodes = _Graph(proto), []
    readers: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in proto.graph.node:
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
        if node.op_type not in _MOVES or not graph.keeps_grid(node):
            continue
        for index, name in enumerate(node.output):
            kinds = {reader.op_type for reader in readers.get(name, ())}
            if not kinds or kinds == {"QuantizeLinear"} or not (node.op_type == "Concat" or kinds & LAYERS):
                continue
            moved, integers = f"{name} moved", f"{name} in integers"
            scale = graph.scale_of(node)
            nodes[-1].output[index] = moved
            nodes.append(helper.make_node("QuantizeLinear", [moved, *scale], [integers]))
            nodes.append(helper.make_node("DequantizeLinear", [integers, *scale], [name]))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _with_unsigned_activations(proto: Any) -> Any:
    """With uint8 in place of int8 for activations, and zero points greater by 128: the same numbers.

    NNCF may take one type for one tensor and one for another, and ONNX Runtime has no kernel from one to the other.
    """
    from onnx import numpy_helper

    graph, shifted = _Graph(proto), {}
    for node in proto.graph.node:
        if node.op_type not in ("DequantizeLinear", "QuantizeLinear") or graph.is_stored(node.input[0]):
            continue
        zero = graph.constant(node.input[2])
        if zero.dtype == np.int8:
            name = f"{node.input[2]} unsigned"
            shifted[name] = numpy_helper.from_array((zero.astype(np.int16) + 128).astype(np.uint8), name)
            node.input[2] = name
    proto.graph.initializer.extend(shifted.values())
    return proto


def picture_layers(fp32: bytes) -> frozenset[str]:
    """The convolutions that read the input of a file of `convert_onnx` themselves.

    Their rounding errors go through everything after them, NNCF gives the first layer but 7 bits for the sake of old x86
    processors, and they have too few channels for int8 to be faster.
    """
    import onnx

    nodes = onnx.ModelProto.FromString(fp32).graph.node
    return frozenset(layer_of(node) for node in nodes if node.op_type == "Conv" and node.input[0] == INPUT)


def layer_of(node: Any) -> str:
    """The module that a layer's node executes."""
    return str(node.name).partition(":")[0]


def layers_by_precision(onnx_file: bytes) -> Mapping[str, bool]:
    """The layers in execution order: True where both weights and input are quantised."""
    import onnx

    graph = _Graph(onnx.ModelProto.FromString(onnx_file))
    return {
        layer_of(node): all(graph.is_quantised(name) for name in node.input[:2])
        for node in graph.proto.graph.node
        if node.op_type in LAYERS and graph.has_weights(node)
    }


class _Graph:
    """Looks up what makes a tensor, and rewires."""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self._stored = {tensor.name for tensor in proto.graph.initializer}
        self._maker = {name: node for node in proto.graph.node for name in node.output}
        self._copies: dict[str, Any] = {}

    def is_stored(self, name: str) -> bool:
        return name in self._stored

    def has_weights(self, node: Any) -> bool:
        """Whether its second input is constant: a product of two activations has none."""
        maker = self._maker.get(node.input[1])
        return node.input[1] in self._stored or (
            maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in self._stored
        )

    def store(self, node: str, tensors: Iterable[Any]) -> list[str]:
        """Constants for an operator; their names."""
        names = []
        for position, tensor in enumerate(tensors):
            copy = self.proto.graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = f"{node} {position}"
            names.append(copy.name)
        return names

    def is_quantised(self, name: str) -> bool:
        maker = self._maker.get(name)
        if maker is None:
            return False
        return maker.op_type == "DequantizeLinear" or (maker.op_type in _MOVES and self.is_quantised(maker.input[0]))

    def keeps_grid(self, move: Any) -> bool:
        """Whether an operator of `_MOVES` gives quantised values and nothing else."""
        if move.op_type == "Pad" and len(move.input) > 2 and move.input[2]:
            return self.is_quantised(move.input[0]) and not self.constant(move.input[2]).any()
        return all(self.is_quantised(name) for name in _moved_by(move))

    def scale_of(self, move: Any) -> tuple[str, str]:
        """Names of a scale and a zero point that hold all that a quantised operator of `_MOVES` moves."""
        from onnx import numpy_helper

        quantised = [maker for name in _moved_by(move) for maker in self._dequantisers(name)]
        pairs = list(dict.fromkeys((maker.input[1], maker.input[2]) for maker in quantised))
        if len(pairs) == 1:
            return pairs[0]
        ranges = [self._range(scale, zero) for scale, zero in pairs]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        if (low, high) in ranges:
            return pairs[ranges.index((low, high))]
        steps = np.iinfo(np.uint8).max
        scale = np.float32((high - low) / steps)
        stored = [np.array(scale), np.array(np.clip(np.rint(-low / scale), 0, steps), np.uint8)]
        name, zero = self.store(move.output[0], map(numpy_helper.from_array, stored))
        return name, zero

    def _range(self, scale: str, zero: str) -> tuple[float, float]:
        """The least and the greatest number of a quantised tensor."""
        step, zero_point = float(self.constant(scale)), self.constant(zero)
        limits = np.iinfo(zero_point.dtype)
        return (limits.min - int(zero_point)) * step, (limits.max - int(zero_point)) * step

    def constant(self, name: str) -> Any:
        from onnx import numpy_helper

        (found,) = (tensor for tensor in self.proto.graph.initializer if tensor.name == name)
        return numpy_helper.to_array(found)

    def _dequantisers(self, name: str) -> list[Any]:
        maker = self._maker[name]
        if maker.op_type == "DequantizeLinear":
            return [maker]
        return [found for given in _moved_by(maker) for found in self._dequantisers(given)]

    def unquantised(self, name: str) -> str:
        """The tensor before its quantiser; operators between the two are copied, for others still read them."""
        maker = self._maker.get(name)
        if maker is None or not self.is_quantised(name):
            return name
        if maker.op_type == "DequantizeLinear":
            quantiser = self._maker.get(maker.input[0])
            return name if quantiser is None else self.unquantised(str(quantiser.input[0]))
        if name not in self._copies:
            copy = type(maker).FromString(maker.SerializeToString())
            copy.name += " in float"
            copy.input[:] = [self.unquantised(one) for one in maker.input]
            copy.output[:] = [f"{one} in float" for one in maker.output]
            self._copies[name] = copy
        return str(self._copies[name].output[list(maker.output).index(name)])

    def in_order(self) -> Any:
        """The file with the copies after what they read."""
        nodes = []
        for node in self.proto.graph.node:
            nodes.append(node)
            nodes += [self._copies[name] for name in node.output if name in self._copies]
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del self.proto.graph.node[:]
        self.proto.graph.node.extend(copies)
        return self.proto


def _moved_by(move: Any) -> list[str]:
    """The tensors whose values it gives; others say where they go."""
    return list(move.input if move.op_type == "Concat" else move.input[:1])


def _without_names(quantised: Any, original: Any) -> Any:
    """The operators that NNCF adds need no names."""
    known = {node.name for node in original.graph.node}
    for node in quantised.graph.node:
        if node.name not in known:
            node.name = ""
    return quantised

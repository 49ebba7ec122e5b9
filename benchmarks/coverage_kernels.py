"""Which operators of an exported file its runtime executes otherwise than by its own kernels in the file's precision."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekit.devices.precision import Precision

# They compute nothing, in whatever type.
_VIEWS = frozenset({"Flatten", "Identity", "ReorderInput", "ReorderOutput", "Reshape", "Squeeze", "Unsqueeze"})
_LAYERS = frozenset({"Conv", "FusedConv", "FusedMatMul", "Gemm", "MatMul"})
_GIVE_FLOATS = frozenset({"DequantizeLinear", "MatMulIntegerToFloat"})
_TAKE_FLOATS = frozenset({"DynamicQuantizeLinear", "QuantizeLinear"})


def outside_xnnpack(path: Path, precision: Precision) -> Counter[str]:
    """TFLite: operators that its delegate does not take over, and those on float32 in a full integer file.

    A delegate stands for the operators between its inputs and outputs, which stay in the list of all.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    dtypes = {one["index"]: one["dtype"].__name__ for one in interpreter.get_tensor_details()}
    makers: dict[int, Any] = {}
    for operator in operators:  # delegates come last
        makers.update(dict.fromkeys(map(int, operator["outputs"]), operator))
    found: Counter[str] = Counter()
    wanted, seen = [int(one["index"]) for one in interpreter.get_output_details()], set()
    while wanted:
        operator = makers.get(wanted.pop())
        if operator is None or operator["index"] in seen:
            continue
        seen.add(operator["index"])
        wanted += map(int, operator["inputs"])
        if operator["op_name"] != "DELEGATE":
            found[operator["op_name"]] += 1
    if precision is Precision.INT8:
        for operator in operators:
            tensors = [int(index) for index in (*operator["inputs"], *operator["outputs"]) if index >= 0]
            if operator["op_name"] != "DELEGATE" and any(dtypes.get(tensor) == "float32" for tensor in tensors):
                found[f"{operator['op_name']} in float32"] += 1
    return found


def in_float(path: Path, precision: Precision) -> Counter[str]:
    """ONNX Runtime: operators on float32 in the graph that it makes of an int8 file; it has a kernel for every one in float32.

    The last layer is not counted, whose output is that of the file.
    """
    if precision is Precision.FP32:
        return Counter()
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as name:
        optimised = Path(name) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # it warns that such a file fits this machine alone
        options.optimized_model_filepath = str(optimised)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(optimised).graph
    last = [index for index, node in enumerate(graph.node) if node.op_type in _LAYERS][-1:]
    floats = {value.name for value in graph.input}
    found: Counter[str] = Counter()
    for index, node in enumerate(graph.node):
        reads_floats = bool(floats.intersection(node.input))
        gives_floats = node.op_type in _GIVE_FLOATS or (node.op_type == "QGemm" and len(node.input) < 9)
        if (reads_floats and node.op_type not in _TAKE_FLOATS) or gives_floats:
            floats.update(node.output)
        if reads_floats and node.op_type not in _TAKE_FLOATS | _VIEWS and [index] != last:
            found[node.op_type] += 1
    return found


def without_our_kernel(onnx_path: Path, precision: Precision) -> Counter[str]:
    """TVM: products that none of our kernels computes, and those it computes on float32 in an int8 file."""
    from edgekit.exporters.tvm.cpu import cpu_of, host_target
    from edgekit.exporters.tvm.network import channels_last
    from edgekit.exporters.tvm.products import products_of

    target = host_target()
    with target:
        products = products_of(channels_last(onnx_path.read_bytes(), cpu_of(target).activations))
    found: Counter[str] = Counter()
    for name, workload in products:
        if workload is None:
            found[name] += 1
        elif precision is Precision.INT8 and workload.precision == "float32":
            found[f"{workload.kind} in float32"] += 1
    return found


OTHERWISE: Mapping[str, Callable[[Path, Precision], Counter[str]]] = {
    "tflite": outside_xnnpack,
    "onnx": in_float,
    "tvm": without_our_kernel,
}
"""By runtime. Of TVM's libraries the .onnx file is looked at that they are compiled from."""

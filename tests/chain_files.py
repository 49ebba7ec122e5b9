"""Small .tflite files, written by hand: chains of convolutions in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.exporters.flatbuffer import pack


def write_chain(path: Path, *, size: int, channels: Sequence[int], kernel: int = 3) -> Path:
    """`channels[0]` are those of the `size` x `size` image; each further one is a convolution with SAME padding."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers = 3, [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 1
    model.operatorCodes, model.subgraphs = [code], [graph]
    graph.tensors, graph.operators = [], []

    def tensor(shape: tuple[int, ...], data: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.shape, made.type, made.name = list(shape), schema.TensorType.FLOAT32, f"t{len(graph.tensors)}".encode()
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.astype(np.float32).tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        else:
            made.buffer = 0
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    x = tensor((1, size, size, channels[0]))
    graph.inputs = [x]
    for before, after in pairwise(channels):
        weights = tensor((after, kernel, kernel, before), np.zeros((after, kernel, kernel, before)))
        bias, y = tensor((after,), np.zeros(after)), tensor((1, size, size, after))
        operator, options = schema.OperatorT(), schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
        options.dilationWFactor = options.dilationHFactor = 1
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, [x, weights, bias], [y]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
        graph.operators.append(operator)
        x = y
    graph.outputs = [x]
    path.write_bytes(pack(model))
    return path

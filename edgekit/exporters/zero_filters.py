"""Biases of filters without weights in an int8 .tflite file.

A bias is stored in units of the scales of input and weights. Where pruning has left a filter nothing but zeros, the quantizer gives
it a scale of almost 0, and its bias does not fit into 32 bits by far: the channel would be 0.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgekit.exporters.flatbuffer import operator_name, pack, unpack

_LAYERS: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_BIAS: Final = 2**16
"""What such a bias is stored as."""


def with_biases_of_zero_filters(int8: bytes, fp32: Any) -> bytes:
    """`int8` with scales for filters of zeros by which their biases are those of `fp32`, the `ModelT` that it was made from."""
    model = unpack(int8, name="the int8 file")
    (graph,) = model.subgraphs
    (original,) = fp32.subgraphs
    biases_O = {tensor.name: _values(fp32, tensor, np.float32) for tensor in original.tensors}
    changed = False
    for operator in graph.operators:
        if operator_name(model.operatorCodes[operator.opcodeIndex]) not in _LAYERS or len(operator.inputs) < 3:
            continue
        if min(operator.inputs) < 0:
            continue
        x, w, b = (graph.tensors[index] for index in operator.inputs)
        if not _has_scales(x) or not _has_scales(w) or not _has_scales(b):
            continue
        zeros_O = _zero_filters(model, w)
        wanted_O, stored_O = biases_O.get(b.name), _values(model, b, np.int32)
        if wanted_O is None or stored_O is None or zeros_O is None or len(zeros_O) != len(stored_O):
            continue
        zeros_O &= wanted_O != 0
        if not zeros_O.any():
            continue
        scales_O, bias_scales_O = np.array(w.quantization.scale), np.array(b.quantization.scale)
        bias_scales_O[zeros_O] = np.abs(wanted_O[zeros_O]) / _BIAS
        scales_O[zeros_O] = bias_scales_O[zeros_O] / x.quantization.scale[0]
        stored_O[zeros_O] = np.sign(wanted_O[zeros_O]) * _BIAS
        w.quantization.scale, b.quantization.scale = scales_O, bias_scales_O
        model.buffers[b.buffer].data = np.frombuffer(stored_O.tobytes(), np.uint8)
        changed = True
    return pack(model) if changed else int8


def _zero_filters(model: Any, w: Any) -> npt.NDArray[np.bool_] | None:
    """Which have no weight but 0; None where the scales are not those of filters."""
    values = _values(model, w, np.int8)
    axis = int(w.quantization.quantizedDimension)
    if values is None or values.size != np.prod(w.shape) or len(w.quantization.scale) != w.shape[axis]:
        return None
    filters_OX = np.moveaxis(values.reshape(w.shape), axis, 0).reshape(w.shape[axis], -1)
    return np.asarray(~filters_OX.any(1))


def _has_scales(tensor: Any) -> bool:
    return tensor is not None and tensor.quantization is not None and tensor.quantization.scale is not None


def _values(model: Any, tensor: Any, dtype: type[np.generic]) -> npt.NDArray[Any] | None:
    """Stored ones, flat."""
    data = model.buffers[tensor.buffer].data
    if data is None:
        return None
    content = np.asarray(data, np.uint8).tobytes()
    return np.frombuffer(content, dtype).copy() if len(content) % np.dtype(dtype).itemsize == 0 else None

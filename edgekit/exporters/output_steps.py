"""How integers at the end of a file map to numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError
from edgekit.exporters.flatbuffer import unpack


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSteps:
    """An integer is so many steps of `scale` above `zero_point`."""

    scale: float
    zero_point: int

    def to_float(self, y_N: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        return (y_N.astype(np.float32) - self.zero_point) * np.float32(self.scale)


def output_steps(path: Path) -> OutputSteps | None:
    """Of the one output of a .tflite file; None where it is float32, as it always is in files of the other runtimes.

    Raises BadInputError for a file that is damaged.
    """
    from ai_edge_litert import schema_py_generated as schema

    if path.suffix != ".tflite":
        return None
    (network,) = unpack(path.read_bytes(), name=str(path)).subgraphs
    output = network.tensors[network.outputs[0]]
    if output.type == schema.TensorType.FLOAT32:
        return None
    mapped = output.quantization
    if mapped is None or mapped.scale is None or len(mapped.scale) != 1 or len(mapped.zeroPoint) != 1:
        raise BadInputError(f"the output of {path} has no scale", hint="give a file that edgekit exported")
    return OutputSteps(scale=float(mapped.scale[0]), zero_point=int(mapped.zeroPoint[0]))

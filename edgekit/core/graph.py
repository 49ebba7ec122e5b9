"""What a model file executes, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgekit.core.operators import Operator


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """An input or output of the file; where it is quantised, real = `scale` * (integer - `zero_point`)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """Operators in execution order; `census` counts them by their name in the format, `dtypes`, by type, those that read or
    write it."""

    operators: tuple[Operator, ...]
    census: Mapping[str, int]
    dtypes: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def macs(self) -> int:
        return sum(operator.macs for operator in self.operators)

    @property
    def parameters(self) -> int:
        return sum(operator.weights + operator.biases for operator in self.operators)

    def to_json(self) -> dict[str, Any]:
        return {
            "operators": [asdict(operator) for operator in self.operators],
            "census": dict(self.census),
            "dtypes": dict(self.dtypes),
            "inputs": [asdict(spec) for spec in self.inputs],
            "outputs": [asdict(spec) for spec in self.outputs],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Graph:
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
        inputs, outputs = (
            tuple(TensorSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in record[side])
            for side in ("inputs", "outputs")
        )
        return cls(
            operators=tuple(Operator.from_json(operator) for operator in record["operators"]),
            census=dict(record["census"]),
            dtypes=dict(record["dtypes"]),
            inputs=inputs,
            outputs=outputs,
        )

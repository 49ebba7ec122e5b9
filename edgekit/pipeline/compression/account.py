"""What each pass bought and cost: the figures of a model after it, on the target and on the evaluation inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgekit.core.model import Scheme
from edgekit.core.quantity import Quantity
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.devices.precision import Precision
from edgekit.devices.runtimes import REFERENCE
from edgekit.devices.size import file_size_bytes, fixed_size_bytes, operator_size_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from edgekit.core.model import Model
    from edgekit.core.operators import Operator
    from edgekit.devices.target import Target
    from edgekit.passes.contract import LayerRow, PassResult, Samples
    from edgekit.passes.judgement import Judgement

# Below the difference of two releases of a runtime on one board (docs/devices.md).
_SAME_LATENCY = 0.02
_WHY = "dense kernels multiply zeros, and int8 files store them; see docs/sparsity.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A model after a step.

    `parameters` are those of the operators that the file holds, `nonzeros` how many of them are not zero; `size_bytes` is
    predicted for the file as the model would be exported now; `judgement` is measured in torch on the evaluation inputs.
    """

    step: str
    parameters: int
    nonzeros: int
    macs: int
    size_bytes: float
    latency: Quantity
    judgement: Judgement
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    layers: tuple[LayerRow, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "parameters": self.parameters,
            "nonzeros": self.nonzeros,
            "macs": self.macs,
            "size_bytes": self.size_bytes,
            "latency": self.latency.to_json(),
            "judgement": self.judgement.to_json(),
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            "layers": [{"layer": row.layer, **row.cells} for row in self.layers],
        }


def precision_of(model: Model, asked: Precision) -> Precision:
    """What its file for a target of the precision `asked` computes with. Weights of 4 bits are read by the size of the file alone:
    their arithmetic is float32."""
    if model.quantization is None:
        return Precision.FP16 if asked is Precision.FP16 else Precision.FP32
    return Precision.INT8 if model.quantization.scheme is Scheme.INT8 else Precision.FP32


def predicted_size_bytes(model: Model, target: Target) -> float:
    """Layers that are kept in float32 are counted so, and in float32 the zeros under masks as the file can leave them out."""
    kept, runtime = model.quantization.kept_float if model.quantization else frozenset(), target.runtime
    if not kept:
        dense = file_size_bytes(model.operators, precision_of(model, target.precision), runtime)
        return dense - (0 if model.quantization or runtime != REFERENCE else _saved_by_zeros(model))
    by_precision = {
        Precision.FP32: [one for one in model.operators if one.name in kept],
        Precision.INT8: [one for one in model.operators if one.name not in kept],
    }
    return fixed_size_bytes(Precision.INT8, runtime) + sum(
        operator_size_bytes(operator, precision, runtime)
        for precision, operators in by_precision.items()
        for operator in operators
    )


def _saved_by_zeros(model: Model) -> int:
    """Bytes that the sparse encoding of masked weights saves where the network bears it (docs/sparsity.md)."""
    from edgekit.exporters.sparse import sparse_bytes

    saved = 0
    for name in model.masks:
        w = model.module.get_parameter(name).detach()
        stored = (w.permute(0, 2, 3, 1) if w.ndim == 4 else w).contiguous().numpy()
        saved += max(0, stored.nbytes - sparse_bytes(stored))
    return saved


def nonzeros_of(model: Model) -> int:
    """Of all parameters of its layers; normalisation, which the export folds away, is left out."""
    from torch import nn

    layers = (one for one in model.module.modules() if isinstance(one, (nn.Conv2d, nn.Linear)))
    return sum(int(weight.count_nonzero()) for layer in layers for weight in layer.parameters())


def speaks_of_speed(before: Row, after: Row) -> tuple[str, ...]:
    """Says so where a pass made zeros and nothing else."""
    fewer = after.nonzeros < before.nonzeros * (1 - _SAME_LATENCY)
    faster = after.latency.value < before.latency.value * (1 - _SAME_LATENCY)
    smaller = after.size_bytes < before.size_bytes * (1 - _SAME_LATENCY)
    if not fewer or (faster and smaller):
        return ()
    missing = [what for what, is_so in (("speed-up", faster), ("smaller file", smaller)) if not is_so]
    return (f"no {' and no '.join(missing)} on this target ({_WHY})",)


def judged(model: Model, samples: Samples, reference: Tensor) -> Judgement:
    """In torch; `reference` are the original's outputs on the same inputs."""
    from edgekit.networks.layers import run
    from edgekit.passes.judgement import judge

    labels_N = None if samples.y_N is None else samples.y_N.numpy()
    return judge(run(model.module, samples.x_N).numpy(), reference.numpy(), labels_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class Accountant:
    """Prices models for one target, and judges them on the evaluation inputs beside the original's answers there."""

    target: Target
    cost_models: Mapping[Precision, CostModel]
    evaluation: Samples
    reference: Tensor

    @classmethod
    def for_target(cls, target: Target, original: Model, evaluation: Samples) -> Accountant:
        from edgekit.networks.layers import run

        precisions = target.device.runtime(target.runtime).precisions
        return cls(
            target=target,
            cost_models={one: load_cost_model(replace(target, precision=one)) for one in precisions},
            evaluation=evaluation,
            reference=run(original.module, evaluation.x_N),
        )

    def latency(self, model: Model, operators: Sequence[Operator]) -> Quantity:
        """Of operators in the model's precision where the target has it, else in what the target has."""
        wanted = precision_of(model, self.target.precision)
        cost_model = self.cost_models.get(wanted) or next(iter(self.cost_models.values()))
        return cost_model.predict_latency(operators)

    def row(self, model: Model, step: str, *, seconds: float = 0.0, result: PassResult | None = None) -> Row:
        return Row(
            step=step,
            parameters=sum(one.weights + one.biases for one in model.operators),
            nonzeros=nonzeros_of(model),
            macs=sum(one.macs for one in model.operators),
            size_bytes=predicted_size_bytes(model, self.target),
            latency=self.latency(model, model.operators),
            judgement=judged(model, self.evaluation, self.reference),
            seconds=seconds,
            notes=result.notes if result else (),
            layers=result.layers if result else (),
        )

"""Proof that an exported file computes what the torch module computes, and executes what was described."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import VerificationError
from edgekit.core.graph import Graph
from edgekit.core.model import Model
from edgekit.core.operators import OperatorKind
from edgekit.devices.precision import Precision
from edgekit.exporters.metadata import read_metadata
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import Artifact
from edgekit.exporters.tflite_graph import read_graph

Relation = Literal["<=", ">=", "=="]
Probabilities = npt.NDArray[np.float32]

_RELATIONS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}

# Another order of summation moves a logit of size 10 to 30 by a few float32 roundings (1e-6 relative), and a
# probability p by p (1 - p) times that: below 1e-5. Faults (a wrong layout, a lost bias) are larger by far.
_ABSOLUTE_TOLERANCE = 1e-5
_RELATIVE_TOLERANCE = 1e-4

_KNOWN_OPERATORS = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "HARD_SWISH",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MEAN",
        "MUL",
        "PAD",
        "QUANTIZE",
        "RELU",
        "RELU6",
        "RESHAPE",
        "SOFTMAX",
    }
)
_COUNTED = (OperatorKind.CONV, OperatorKind.DEPTHWISE, OperatorKind.DENSE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One figure against its limit; it passes where `value relation limit` holds."""

    name: str
    value: float
    relation: Relation
    limit: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        return bool(_RELATIONS[self.relation](self.value, self.limit))

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name} is {self.value:.10g}, must be {self.relation} {self.limit:.10g}{detail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """All checks of one file, passed, over `inputs` images."""

    sha256: str
    precision: Precision
    inputs: int
    checks: tuple[Check, ...]
    census: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "sha256": self.sha256,
            "precision": self.precision.value,
            "inputs": self.inputs,
            "checks": [asdict(check) for check in self.checks],
            "census": dict(sorted(self.census.items())),
        }


def verify(
    model: Model,
    artifact: Artifact,
    x_NHWC: npt.NDArray[np.float32],
    *,
    min_agreement: float,
    min_cosine: float = 0.98,
    max_size_bytes: float | None = None,
    timeout_s: float = 120,
    signature: str | None = None,
) -> Verification:
    """Checks the artifact, or one signature of a merged file, on preprocessed images.

    fp32: against the torch module, within 1e-5 + 1e-4 p. int8: its fp32 reference in the same way, then the int8 file
    against the reference: share of images with the same top-1 label (`min_agreement`), cosine of all outputs
    (`min_cosine`). Both: labels, operators, types and MACs of the file against the description, and its size.
    Raises VerificationError that names each check missed with its figure and limit, BadInputError where a file does not
    run.
    """
    p_torch = _run_torch(model, x_NHWC)
    p_file = run_in_subprocess(artifact.path, x_NHWC, timeout_s=timeout_s, signature=signature).outputs
    if artifact.reference is None:
        checks = _fp32_checks(p_file, p_torch)
    else:
        p_fp32 = run_in_subprocess(artifact.reference.path, x_NHWC, timeout_s=timeout_s).outputs
        checks = _fp32_checks(p_fp32, p_torch)
        checks += [
            Check(name="int8 top-1 agreement", value=_agreement(p_file, p_fp32), relation=">=", limit=min_agreement),
            Check(name="int8 cosine", value=_cosine(p_file, p_fp32), relation=">=", limit=min_cosine),
        ]
    graph = read_graph(artifact.path, signature=signature)
    checks += _graph_checks(graph, model, artifact.precision)
    wrong_labels = int(read_metadata(artifact.path, signature=signature).labels != model.labels)
    checks.append(Check(name="label lists in the file that differ", value=wrong_labels, relation="==", limit=0))
    if max_size_bytes is not None:
        checks.append(Check(name="size_bytes", value=artifact.size_bytes, relation="<=", limit=max_size_bytes))
    raise_on_miss(artifact, checks, signature)
    return Verification(
        sha256=artifact.sha256,
        precision=artifact.precision,
        inputs=len(x_NHWC),
        checks=tuple(checks),
        census=graph.census,
    )


def raise_on_miss(artifact: Artifact, checks: Sequence[Check], signature: str | None = None) -> None:
    missed = [str(check) for check in checks if not check.passed]
    if missed:
        variant = "" if signature is None else f"{signature}, "
        raise VerificationError(
            f"{artifact.path.name} ({variant}{artifact.precision}) failed verification: {'; '.join(missed)}",
            hint="int8: give more calibration images or choose an fp32 target; else report it as a fault of edgekit",
        )


def _run_torch(model: Model, x_NHWC: npt.NDArray[np.float32]) -> Probabilities:
    import torch

    with torch.inference_mode():
        x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous()
        p_NK = torch.cat([model.module(batch) for batch in torch.split(x_NCHW, 256)])
    return np.asarray(p_NK.numpy(), np.float32)


def _fp32_checks(p: Probabilities, reference: Probabilities) -> list[Check]:
    if p.shape != reference.shape:
        return [Check(name="fp32 outputs", value=p.shape[-1], relation="==", limit=reference.shape[-1])]
    tolerance = _ABSOLUTE_TOLERANCE + _RELATIVE_TOLERANCE * np.abs(reference)
    difference = np.abs(p - reference)
    return [
        Check(
            name="fp32 difference in tolerances",
            value=float(np.max(difference / tolerance)),
            relation="<=",
            limit=1,
            detail=f"at most {np.max(difference):.2g} apart",
        ),
        Check(name="fp32 cosine", value=_cosine(p, reference), relation=">=", limit=0.99999),
        Check(
            name="fp32 top-1 agreement",
            value=_agreement(p, reference, within=float(2 * tolerance.max())),
            relation=">=",
            limit=1,
        ),
    ]


def _graph_checks(graph: Graph, model: Model, precision: Precision) -> list[Check]:
    unknown = {name: count for name, count in graph.census.items() if name not in _KNOWN_OPERATORS}
    found = Counter(operator.kind for operator in graph.operators)
    described = Counter(operator.kind for operator in model.operators)
    checks = [
        Check(
            name="unexpected operators",
            value=sum(unknown.values()),
            relation="==",
            limit=0,
            detail=", ".join(sorted(unknown)),
        ),
        *(
            Check(name=f"{kind} operators", value=found[kind], relation="==", limit=described[kind])
            for kind in _COUNTED
        ),
        Check(name="MACs", value=graph.macs, relation="==", limit=sum(operator.macs for operator in model.operators)),
        Check(name="outputs", value=graph.outputs[0].shape[-1], relation="==", limit=len(model.labels)),
    ]
    if precision is Precision.INT8:
        floats = graph.dtypes.get("float32", 0)
        checks.append(Check(name="operators on float32", value=floats, relation="==", limit=0))
    return checks


def _agreement(p: Probabilities, reference: Probabilities, *, within: float = 0.0) -> float:
    """Share of images whose top label is the reference's, or one that the reference rates lower by at most `within`."""
    chosen = np.take_along_axis(reference, p.argmax(axis=1)[:, None], axis=1)[:, 0]
    return float(np.mean(chosen >= reference.max(axis=1) - within))


def _cosine(a: Probabilities, b: Probabilities) -> float:
    wide_a, wide_b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    lengths = float(np.linalg.norm(wide_a)) * float(np.linalg.norm(wide_b))
    return float(wide_a @ wide_b) / max(lengths, 1e-30)

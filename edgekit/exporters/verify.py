"""Proof that an exported file computes what the torch module computes, and executes what was described."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import VerificationError
from edgekit.core.fidelity import Outputs, agreement, cosine, is_classifier, reproduced
from edgekit.core.graph import Graph
from edgekit.core.model import Model
from edgekit.core.operators import OperatorKind
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.check import Check, Verification
from edgekit.exporters.exporter import exporter_of
from edgekit.exporters.layout import to_file, to_torch

# Another order of summation moves a logit of size 10 to 30 by a few float32 roundings (1e-6 relative), and a
# probability p by p (1 - p) times that: below 1e-5. Faults (a wrong layout, a lost bias) are larger by far.
# Outputs of another scale are compared in units of the largest.
_ABSOLUTE_TOLERANCE = 1e-5
_RELATIVE_TOLERANCE = 1e-4

# A half is rounded by up to 2^-11 of itself. The roundings of a sum of n terms add up like the steps of a random walk, to about
# sqrt(n) / 2 of them: 16 for a thousand terms. That moves a logit of size 16 by 1/8, and a probability p by p (1 - p) times that.
# benchmarks/half_precision.py shows up to three quarters of it.
HALF_TOLERANCE: Final = 1 / 32

_COUNTED = (OperatorKind.CONV, OperatorKind.DEPTHWISE, OperatorKind.DENSE)


def verify(
    model: Model,
    artifact: Artifact,
    x_N: npt.NDArray[np.float32],
    *,
    min_agreement: float,
    min_cosine: float = 0.98,
    min_reproduced: float = 0.9,
    max_size_bytes: float | None = None,
    timeout_s: float = 120,
) -> Verification:
    """Checks the artifact on preprocessed inputs laid out as in `edgekit.exporters.layout`.

    fp32: against the torch module, within 1e-5 + 1e-4 y, where outputs y are no probabilities in units of the largest. Quantised,
    and fp16: its fp32 reference in the same way, then the file against the reference: of a classifier the share of inputs with the
    same top-1 label (`min_agreement`); cosine of all outputs (`min_cosine`); where they are no probabilities, the share of their
    variance that is reproduced (`min_reproduced`); in fp16 the largest difference too. All: labels, operators and MACs of the file
    against the description, its size, and what its exporter checks. Raises VerificationError that names each check missed with its
    figure and limit, BadInputError where a file does not run.
    """
    exporter, signature = exporter_of(artifact.path), artifact.signature
    y_torch = _run_torch(model, x_N)
    y_file = exporter.run(artifact.path, x_N, timeout_s=timeout_s, signature=signature).outputs
    are_probabilities = model.output_range == (0, 1)
    if artifact.reference is None:
        checks = _fp32_checks(y_file, y_torch, are_probabilities=are_probabilities)
    else:
        reference = artifact.reference.path
        y_fp32 = exporter_of(reference).run(reference, x_N, timeout_s=timeout_s).outputs
        checks = _fp32_checks(y_fp32, y_torch, are_probabilities=are_probabilities)
        name = artifact.precision if artifact.quantization is None else artifact.quantization.scheme
        if is_classifier(y_fp32):
            share = agreement(y_file, y_fp32)
            checks.append(Check(name=f"{name} top-1 agreement", value=share, relation=">=", limit=min_agreement))
        checks.append(Check(name=f"{name} cosine", value=cosine(y_file, y_fp32), relation=">=", limit=min_cosine))
        if artifact.precision is Precision.FP16:
            checks.append(_half_check(y_file, y_fp32, are_probabilities=are_probabilities))
        if not are_probabilities:
            share = reproduced(y_file, y_fp32)
            checks.append(Check(name=f"{name} variance reproduced", value=share, relation=">=", limit=min_reproduced))
    graph = exporter.read_graph(artifact.path, signature=signature)
    checks += [*_graph_checks(graph, model), *exporter.checks(model, artifact, graph)]
    wrong_labels = int(exporter.read_metadata(artifact.path, signature=signature).labels != model.labels)
    checks.append(Check(name="label lists in the file that differ", value=wrong_labels, relation="==", limit=0))
    if max_size_bytes is not None:
        checks.append(Check(name="size_bytes", value=artifact.size_bytes, relation="<=", limit=max_size_bytes))
    variant = "" if signature is None else f"{signature}, "
    raise_on_miss(f"{artifact.path.name} ({variant}{artifact.precision})", checks)
    return Verification(
        sha256=artifact.sha256,
        precision=artifact.precision,
        inputs=len(x_N),
        checks=tuple(checks),
        census=graph.census,
        notes=(*_notes(graph), *artifact.notes),
    )


def raise_on_miss(subject: str, checks: Sequence[Check]) -> None:
    """Raises VerificationError that names each check missed."""
    missed = [str(check) for check in checks if not check.passed]
    if missed:
        raise VerificationError(
            f"{subject} failed verification: {'; '.join(missed)}",
            hint="int8: give more calibration images or choose an fp32 target; fp16: choose an fp32 target; "
            "otherwise report it as a bug in edgekit",
        )


def _run_torch(model: Model, x_N: npt.NDArray[np.float32]) -> Outputs:
    """Laid out as in the file."""
    import torch

    with torch.inference_mode():
        y_N = torch.cat([model.module(batch) for batch in torch.split(torch.from_numpy(to_torch(x_N)), 256)])
    return to_file(np.asarray(y_N.numpy(), np.float32))


def _fp32_checks(y: Outputs, reference: Outputs, *, are_probabilities: bool) -> list[Check]:
    if y.shape != reference.shape:
        numbers = math.prod(y.shape[1:]), math.prod(reference.shape[1:])
        shapes = f"of shape {y.shape[1:]}, must be {reference.shape[1:]}"
        return [Check(name="fp32 outputs", value=numbers[0], relation="==", limit=numbers[1], detail=shapes)]
    unit = _unit(reference, are_probabilities=are_probabilities)
    tolerance = _ABSOLUTE_TOLERANCE * unit + _RELATIVE_TOLERANCE * np.abs(reference)
    difference = np.abs(y - reference)
    checks = [
        Check(
            name="fp32 difference in tolerances",
            value=float(np.max(difference / tolerance)),
            relation="<=",
            limit=1,
            detail=f"at most {np.max(difference):.2g} apart",
        ),
        Check(name="fp32 cosine", value=cosine(y, reference), relation=">=", limit=0.99999),
    ]
    if is_classifier(reference):
        share = agreement(y, reference, within=float(2 * tolerance.max()))
        checks.append(Check(name="fp32 top-1 agreement", value=share, relation=">=", limit=1))
    return checks


def _half_check(y: Outputs, reference: Outputs, *, are_probabilities: bool) -> Check:
    difference = float(np.abs(y - reference).max())
    tolerance = HALF_TOLERANCE * _unit(reference, are_probabilities=are_probabilities)
    return Check(
        name="fp16 difference in tolerances",
        value=difference / tolerance,
        relation="<=",
        limit=1,
        detail=f"at most {difference:.2g} apart",
    )


def _unit(reference: Outputs, *, are_probabilities: bool) -> float:
    return 1.0 if are_probabilities else float(np.abs(reference).max()) or 1.0


def _graph_checks(graph: Graph, model: Model) -> list[Check]:
    found = Counter(operator.kind for operator in graph.operators)
    described = Counter(operator.kind for operator in model.operators)
    checks = [
        *(
            Check(name=f"{kind} operators", value=found[kind], relation="==", limit=described[kind])
            for kind in _COUNTED
        ),
        Check(name="MACs", value=graph.macs, relation="==", limit=sum(operator.macs for operator in model.operators)),
    ]
    if model.labels:
        outputs = graph.outputs[0].shape[-1]
        checks.append(Check(name="outputs", value=outputs, relation="==", limit=len(model.labels)))
    return checks


def _notes(graph: Graph) -> tuple[str, ...]:
    moved = sum(count for name, count in graph.census.items() if name.upper() == "TRANSPOSE")
    return (f"The file changes the layout of tensors {moved} times (TRANSPOSE), which costs time.",) if moved else ()

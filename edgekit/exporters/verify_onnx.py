"""Proof that an exported .onnx file computes what the torch module computes, and is quantised where it should be."""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgekit.core.fidelity import agreement, cosine, is_classifier, reproduced
from edgekit.core.model import Model
from edgekit.core.operators import OperatorKind
from edgekit.exporters.onnx_file import Floats, read_onnx_metadata
from edgekit.exporters.onnx_graph import read_onnx_graph
from edgekit.exporters.onnx_quantization import layers_by_precision
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import Artifact
from edgekit.exporters.verify import Check, Verification, raise_on_miss

# In units of the largest output: another order of summation changes it by a few float32 roundings, 1e-6.
_TOLERANCE = 1e-4


def verify_onnx(
    model: Model,
    artifact: Artifact,
    x_N: Floats,
    *,
    min_agreement: float,
    min_cosine: float = 0.98,
    min_reproduced: float = 0.9,
    max_size_bytes: float | None = None,
    timeout_s: float = 120,
) -> Verification:
    """Checks the artifact in ONNX Runtime on preprocessed inputs `x_N` (N, *input_shape).

    fp32: against the torch module, within 1e-4 of the largest output. int8: its fp32 reference in the same way, then the file
    against the reference: of a classifier the share of inputs with the same top-1 label (`min_agreement`), cosine of all outputs
    (`min_cosine`), of outputs that are no probabilities the share of their variance that is reproduced (`min_reproduced`), and
    that exactly the layers that were to be kept are in float32. Both: labels, layers and MACs of
    the file against the description, and its size. Raises VerificationError that names each check missed with its figure and
    limit, BadInputError where a file does not run.
    """
    reference = artifact.reference or artifact
    y_fp32 = run_in_subprocess(reference.path, x_N, timeout_s=timeout_s).outputs
    checks = [_same_as_torch(model, x_N, y_fp32)]
    if artifact.reference is not None:
        y_int8 = run_in_subprocess(artifact.path, x_N, timeout_s=timeout_s).outputs
        if is_classifier(y_fp32):
            share = agreement(y_int8, y_fp32)
            checks.append(Check(name="int8 top-1 agreement", value=share, relation=">=", limit=min_agreement))
        checks.append(Check(name="int8 cosine", value=cosine(y_int8, y_fp32), relation=">=", limit=min_cosine))
        if model.output_range != (0, 1):
            share = reproduced(y_int8, y_fp32)
            checks.append(Check(name="int8 variance reproduced", value=share, relation=">=", limit=min_reproduced))
        checks.append(_quantised_as_meant(artifact))
    graph = read_onnx_graph(artifact.path)
    found = Counter(operator.kind for operator in graph.operators)
    described = Counter(operator.kind for operator in model.operators)
    checks += [
        Check(name=f"{kind} operators", value=found[kind], relation="==", limit=described[kind])
        for kind in (OperatorKind.CONV, OperatorKind.DEPTHWISE, OperatorKind.DENSE)
    ]
    macs = sum(operator.macs for operator in model.operators)
    wrong_labels = int(read_onnx_metadata(artifact.path).labels != model.labels)
    checks += [
        Check(name="MACs", value=graph.macs, relation="==", limit=macs),
        Check(name="label lists in the file that differ", value=wrong_labels, relation="==", limit=0),
    ]
    if max_size_bytes is not None:
        checks.append(Check(name="size_bytes", value=artifact.size_bytes, relation="<=", limit=max_size_bytes))
    raise_on_miss(artifact, checks)
    return Verification(
        sha256=artifact.sha256,
        precision=artifact.precision,
        inputs=len(x_N),
        checks=tuple(checks),
        census=graph.census,
    )


def _same_as_torch(model: Model, x_N: Floats, y: Floats) -> Check:
    import torch

    with torch.inference_mode():
        parts = [model.module(part) for part in torch.split(torch.from_numpy(x_N), 256)]
    expected = torch.cat(parts).numpy()
    if y.shape != expected.shape:
        shapes = f"of shape {y.shape[1:]}, must be {expected.shape[1:]}"
        return Check(name="fp32 outputs", value=y[0].size, relation="==", limit=expected[0].size, detail=shapes)
    apart = float(np.abs(y - expected).max() / max(np.abs(expected).max(), 1e-30))
    return Check(name="fp32 difference from torch", value=apart, relation="<=", limit=_TOLERANCE)


def _quantised_as_meant(artifact: Artifact) -> Check:
    kept = frozenset() if artifact.quantization is None else artifact.quantization.kept_float
    layers = layers_by_precision(artifact.path.read_bytes())
    wrong = [name for name, quantised in layers.items() if quantised == (name in kept)]
    return Check(
        name="layers in another precision than meant",
        value=len(wrong),
        relation="==",
        limit=0,
        detail=", ".join(wrong[:5]),
    )

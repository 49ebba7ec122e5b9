"""ResNet-20 in integers: what `quant::int8` and `quant::int4_weights` leave of the accuracy and of the bytes of its .tflite file.

    python benchmarks/resnet20_int8.py [--quick] [-o RESULT.json]

Activations are calibrated on 256 of the 3,000 images to learn from; the passes judge themselves by 1,000 others of those. The files
are then run on the 1,000 images that neither has seen. At most half a point of accuracy may be lost, and the int8 file may have at
most 30 % of the bytes of the fp32 file; 4-bit weights have no bar.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cifar10_resnet20 import LABELS, PREPROCESSING, Images, images, resnet20
from harness import Table, absent, bars, publish

from edgekit.core.fidelity import agreement, signal_to_noise_db
from edgekit.core.model import Model
from edgekit.core.proportion import wilson_interval
from edgekit.devices.precision import Precision
from edgekit.devices.target import parse_target
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.flatbuffer import unpack
from edgekit.exporters.layout import to_file
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import export
from edgekit.exporters.tflite_graph import read_graph
from edgekit.exporters.verify import verify
from edgekit.networks.description import describe
from edgekit.passes.contract import Context, PassResult, Samples
from edgekit.passes.quantization import Int4Weights, Int8

CALIBRATION, JUDGING = 256, 1000
BAR_POINTS, BAR_SIZE = 0.5, 0.30
_TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A file on the images that it is judged on."""

    artifact: Artifact
    logits_NK: np.ndarray[Any, np.dtype[np.float32]]
    right: float
    ms: float


def lifted() -> Model:
    module = torch.fx.symbolic_trace(resnet20())
    return Model(
        module=module,
        input_shape=(3, 32, 32),
        labels=LABELS,
        preprocessing=PREPROCESSING,
        operators=describe(module, (3, 32, 32)).operators,
        output_range=None,
    )


def context_of(model: Model, learnt: Images, judging: int) -> Context:
    """The judging images are the last ones of those to learn from."""
    return Context(
        original=model,
        target=parse_target("rpi4"),
        latency_ms=lambda _operators: 0.0,
        calibration=Samples(x_N=learnt.x_NCHW[:CALIBRATION]),
        judging=Samples(x_N=learnt.x_NCHW[-judging:], y_N=learnt.y_N[-judging:]),
        progress=lambda line: print(line, file=sys.stderr),
    )


def ran(artifact: Artifact, judged: Images) -> Ran:
    result = run_in_subprocess(artifact.path, to_file(judged.x_NCHW.numpy()), timeout_s=_TIMEOUT_S)
    right = float(np.mean(result.outputs.argmax(1) == judged.y_N.numpy()))
    return Ran(artifact=artifact, logits_NK=result.outputs, right=right, ms=float(np.median(result.times_ms)))


def row(name: str, one: Ran, fp32: Ran) -> tuple[str, ...]:
    low, high = wilson_interval(one.right, len(one.logits_NK))
    return (
        name,
        f"{one.artifact.size_bytes / 1000:.1f}",
        f"{one.artifact.size_bytes / fp32.artifact.size_bytes:.1%}",
        f"{one.right:.1%} ({low:.1%} to {high:.1%})",
        f"{100 * (fp32.right - one.right):.1f}",
        f"{agreement(one.logits_NK, fp32.logits_NK):.1%}",
        f"{signal_to_noise_db(one.logits_NK, fp32.logits_NK):.1f}",
        f"{one.ms:.2f}",
    )


def bytes_of(path: Path) -> dict[str, int]:
    """Where they go: constants that operators read (with the scale and the zero point of each channel), metadata, the rest."""
    content = path.read_bytes()
    model = unpack(content, name=path.name)
    (graph,) = model.subgraphs
    constants = {tensor.buffer for tensor in graph.tensors}
    data = [0 if buffer.data is None else len(buffer.data) for buffer in model.buffers]
    weights = sum(data[index] for index in constants)
    metadata = sum(data[entry.buffer] for entry in model.metadata or [])
    scales = [tensor.quantization for tensor in graph.tensors if tensor.quantization is not None]
    channels = sum(len(one.scale) for one in scales if one.scale is not None)
    return {
        "weights and biases": weights,
        "scales (4 bytes) and zero points (8 bytes)": 12 * channels,
        "metadata": metadata,
        "rest": len(content) - weights - metadata - 12 * channels,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/resnet20_int8.json")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images; writes no record")
    options = parser.parse_args()
    try:
        learnt, judged = images()
        model = lifted()
    except FileNotFoundError as error:
        absent(f"{error.filename} is not there")
    judging = JUDGING
    if options.quick:
        judging = 100
        judged = Images(x_NCHW=judged.x_NCHW[:100], y_N=judged.y_N[:100])

    context = context_of(model, learnt, judging)
    results: dict[str, PassResult] = {"int8": Int8()(model, context), "int4 weights": Int4Weights()(model, context)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calibration_N = to_file(context.calibration.x_N.numpy())

        def exported(kind: str, one: Model) -> Artifact:
            place = folder / kind
            place.mkdir()
            artifact = export(one, precision=Precision.FP32, calibration_N=calibration_N, folder=place)
            verify(one, artifact, calibration_N[:64], min_agreement=0.9, min_reproduced=0.8)
            return artifact

        fp32 = ran(exported("fp32", replace(model, quantization=None)), judged)
        files = {kind: ran(exported(kind, result.model), judged) for kind, result in results.items()}
        kinds = {kind: dict(read_graph(one.artifact.path).dtypes) for kind, one in {"fp32": fp32, **files}.items()}
        places = {kind: bytes_of(one.artifact.path) for kind, one in {"fp32": fp32, **files}.items()}

    int8 = files["int8"]
    lost = 100 * (fp32.right - int8.right)
    size = int8.artifact.size_bytes / fp32.artifact.size_bytes
    columns = ("", "kB", "of fp32", "accuracy", "points lost", "agreement", "SNR dB", "ms here")
    tables = [
        Table(
            f"ResNet-20, .tflite files on {len(judged.y_N)} images",
            columns,
            [row("fp32", fp32, fp32), *(row(kind, one, fp32) for kind, one in files.items())],
        ),
        Table(
            "Bytes",
            ("", *places),
            [(what, *(str(place[what]) for place in places.values())) for what in places["fp32"]],
        ),
        *(
            Table(
                f"{kind}: each layer quantised alone",
                ("layer", *result.layers[0].cells),
                [(layer.layer, *layer.cells.values()) for layer in result.layers],
            )
            for kind, result in results.items()
        ),
        bars(
            ("points lost by int8", f"{lost:.1f}", f"at most {BAR_POINTS}", lost <= BAR_POINTS),
            ("bytes of int8 of those of fp32", f"{size:.1%}", f"at most {BAR_SIZE:.0%}", size <= BAR_SIZE),
        ),
    ]
    figures = {
        kind: {
            "size_bytes": one.artifact.size_bytes,
            "accuracy": one.right,
            "accuracy_95": list(wilson_interval(one.right, len(one.logits_NK))),
            "agreement": agreement(one.logits_NK, fp32.logits_NK),
            "operators_by_dtype": kinds[kind],
            "bytes": places[kind],
            "median_ms_here": one.ms,
            **(
                {
                    "notes": list(results[kind].notes),
                    "layers": {layer.layer: dict(layer.cells) for layer in results[kind].layers},
                }
                if kind in results
                else {}
            ),
        }
        for kind, one in {"fp32": fp32, **files}.items()
    }
    for kind, result in results.items():
        print(f"{kind}: {' '.join(result.notes)}")
    publish("resnet20_int8", tables, figures, options.output, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""ResNet-20 as an int8 ONNX file by `quant::nncf`, in ONNX Runtime.

    python benchmarks/resnet20_int8_onnx.py [--quick] [-o RESULT.json]

The pass calibrates on 300 images and judges itself on 1,000 others, all of the 3,000 to learn from; accuracy is measured on the
1,000 that no step looks at, in processes of their own on one thread. The share of latency is this machine's, in one run, the two
files taking turns: other machines differ, in either direction.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from cifar10_resnet20 import LABELS, PREPROCESSING, Images, images, resnet20
from harness import Table, absent, bars, publish

from edgekit.core.model import Model
from edgekit.devices.precision import Precision
from edgekit.devices.target import parse_target
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.layout import to_file
from edgekit.exporters.onnx_file import export_onnx
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.verify import verify
from edgekit.networks.description import describe
from edgekit.passes.contract import Context, PassResult, Samples
from edgekit.passes.nncf import Nncf

SHAPE = (3, 32, 32)
BAR_LOST, BAR_SIZE = 0.5, 0.3
CALIBRATION, JUDGING, ROUNDS = 300, 1000, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Of one file: share of right answers, bytes, median milliseconds of one inference."""

    accuracy: float
    size_bytes: int
    latency_ms: float


def original() -> Model:
    module = torch.fx.symbolic_trace(resnet20())
    return Model(
        module=module,
        input_shape=SHAPE,
        labels=LABELS,
        preprocessing=PREPROCESSING,
        operators=describe(module, SHAPE).operators,
        output_range=None,
    )


def quantised(model: Model, calibration: Samples, judging: Samples) -> PassResult:
    context = Context(
        original=model,
        target=parse_target("rpi4"),
        latency_ms=lambda _operators: 0.0,
        calibration=calibration,
        judging=judging,
        progress=lambda line: print(line, file=sys.stderr),
    )
    return Nncf()(model, context)


def measured(files: tuple[Artifact, ...], held_out: Images) -> list[Measured]:
    x_N, y_N = held_out.x_NCHW.numpy(), held_out.y_N.numpy()
    runs = [[run_in_subprocess(file.path, x_N, timeout_s=300) for file in files] for _ in range(ROUNDS)]
    return [
        Measured(
            accuracy=float(np.mean(runs[0][index].outputs.argmax(axis=1) == y_N)),
            size_bytes=file.size_bytes,
            latency_ms=float(np.median([turn[index].times_ms for turn in runs])),
        )
        for index, file in enumerate(files)
    ]


def part(source: Images, start: int, number: int) -> Samples:
    return Samples(x_N=source.x_NCHW[start : start + number], y_N=source.y_N[start : start + number])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the images to calibrate and choose by; writes no record"
    )
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/resnet20_int8_onnx.json")
    options = parser.parse_args()
    try:
        model, (learnt, held_out) = original(), images()
    except FileNotFoundError as error:
        absent(f"{error.filename} is not here")
    share = 10 if options.quick else 1
    calibration = part(learnt, 0, CALIBRATION // share)
    result = quantised(model, calibration, part(learnt, CALIBRATION, JUDGING // share))
    with tempfile.TemporaryDirectory() as folder:
        int8 = export_onnx(
            result.model, precision=Precision.FP32, calibration_N=calibration.x_N.numpy(), folder=Path(folder)
        )
        if int8.reference is None:
            print(*result.notes, sep="\n")
            return 1
        verify(result.model, int8, to_file(held_out.x_NCHW[:100].numpy()), min_agreement=0.95)
        before, after = measured((int8.reference, int8), held_out)
    lost = 100 * (before.accuracy - after.accuracy)
    size, latency = after.size_bytes / before.size_bytes, after.latency_ms / before.latency_ms
    tables = [
        Table(
            f"ResNet-20 in ONNX Runtime, {len(held_out.y_N)} held-out images, one thread",
            ("", "accuracy", "bytes", "ms on this machine"),
            [
                (name, f"{one.accuracy:.1%}", f"{one.size_bytes:,}", f"{one.latency_ms:.3f}")
                for name, one in (("fp32", before), ("int8", after))
            ],
        ),
        Table(
            "What each layer costs where it alone is int8",
            ("layer", "output SNR (dB)", "stored as"),
            [(row.layer, *row.cells.values()) for row in result.layers],
        ),
        bars(
            ("points of accuracy lost", f"{lost:.1f}", f"at most {BAR_LOST:g}", lost <= BAR_LOST),
            ("share of the fp32 file's bytes", f"{size:.1%}", f"less than {BAR_SIZE:.0%}", size < BAR_SIZE),
        ),
        Table(
            "For information", ("", "measured"), [("int8 latency as a share of fp32, this machine", f"{latency:.0%}")]
        ),
    ]
    figures = {
        "accuracy": {"fp32": before.accuracy, "int8": after.accuracy},
        "size_bytes": {"fp32": before.size_bytes, "int8": after.size_bytes},
        "latency_ms": {"fp32": before.latency_ms, "int8": after.latency_ms},
        "kept_float": sorted(result.model.quantization.kept_float if result.model.quantization else ()),
        "notes": list(result.notes),
        "libraries": {library: version(library) for library in ("onnx", "onnxruntime", "onnxscript", "nncf")},
    }
    publish("resnet20_int8_onnx", tables, figures, options.output, write=not options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())

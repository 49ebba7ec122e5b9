"""The full `signs43` supernet on all 43 labels of test.parquet: fp32, and int8 calibrated with the synthesised pictures."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from harness import Table, bars, open_model, options_of, publish

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.training.data import read_parquet
from edgekit.core.images import to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.devices.precision import Precision
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import export
from edgekit.supernet.description import describe
from edgekit.supernet.storage import CALIBRATION
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.task import Task

FULL_BAR, INT8_LOSS_BAR = 0.975, 0.005


def main() -> int:
    options = options_of(__doc__).parse_args()
    folder = open_model(options, needs_data=True)
    dataset = read_parquet(options.data, "test", image_size=folder.spec.image_size, labels=folder.spec.labels)
    assembler = Assembler.load(folder)
    spec = folder.spec
    task = Task(indices=tuple(range(spec.labels)), text="all labels")
    preprocessing = Preprocessing(height=spec.image_size, width=spec.image_size)
    x_NHWC = to_float(np.ascontiguousarray(dataset.x_NCHW.transpose(0, 2, 3, 1)), preprocessing)
    subnet = slice_subnet(assembler.supernet, spec.full, task)
    with torch.inference_mode():
        x_NCHW = torch.from_numpy(x_NHWC).permute(0, 3, 1, 2)
        fp32 = torch.cat([subnet(batch.contiguous()).argmax(1) for batch in torch.split(x_NCHW, 500)]).numpy()
    model = Model(
        module=subnet,
        labels=task.outputs(folder.vocabulary),
        preprocessing=preprocessing,
        operators=describe(spec, spec.full, outputs=spec.labels, grouped=False),
    )
    calibration_NHWC = to_float(folder.read_tensors(CALIBRATION)["x_NHWC"].numpy(), preprocessing)
    with tempfile.TemporaryDirectory() as work:
        artifact = export(model, precision=Precision.INT8, calibration_NHWC=calibration_NHWC, folder=Path(work))
        int8 = run_in_subprocess(artifact.path, x_NHWC, timeout_s=300).outputs.argmax(1)
        sizes = {"int8": artifact.size_bytes, "fp32": artifact.reference.size_bytes if artifact.reference else 0}
    accuracy = {"fp32": float((fp32 == dataset.y_N).mean()), "int8": float((int8 == dataset.y_N).mean())}
    loss = accuracy["fp32"] - accuracy["int8"]
    rows = [
        (name, f"{value:.2%}", f"{100 * np.sqrt(value * (1 - value) / len(dataset)):.2f}", f"{sizes[name]:,}")
        for name, value in accuracy.items()
    ]
    tables = [
        Table("full supernet, 43 labels, test images", ("file", "top-1", "+- points", "bytes"), rows),
        bars(
            ("top-1, fp32", f"{accuracy['fp32']:.2%}", f"at least {FULL_BAR:.1%}", accuracy["fp32"] >= FULL_BAR),
            ("lost by int8", f"{loss:.2%}", f"at most {INT8_LOSS_BAR:.1%}", loss <= INT8_LOSS_BAR),
        ),
    ]
    figures = {"images": len(dataset), "accuracy": accuracy, "size_bytes": sizes}
    publish("signs43_accuracy", tables, figures, options.output, model=folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

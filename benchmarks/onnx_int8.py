"""Int8 ONNX files by NNCF with its own settings and with edgekit's: how often they answer as the float32 file does.

    python benchmarks/onnx_int8.py [--quick] [-o RESULT.json]

Random networks of `signs43`, calibrated with its synthesised pictures; judged on training images of the labels that they tell
apart, never on those of the test. In ONNX Runtime, and in TFLite for comparison. Milliseconds are the least of many runs on this
machine and one thread, the files taking turns, summed over the networks.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from harness import Table, open_model, options_of, publish
from numpy.typing import NDArray

from edgekit.assembler.training.data import read_labelled
from edgekit.core.fidelity import agreement
from edgekit.core.images import to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.devices.target import parse_target
from edgekit.exporters.exporter import exporter_for
from edgekit.exporters.layout import to_torch
from edgekit.exporters.onnx_file import INPUT, convert_onnx, outputs_of
from edgekit.exporters.onnx_libraries import import_nncf, import_onnxruntime
from edgekit.exporters.onnx_quantization import picture_layers, quantize_onnx
from edgekit.exporters.quiet import quiet
from edgekit.pipeline.probes import random_genotypes
from edgekit.supernet.description import describe
from edgekit.supernet.storage import CALIBRATION, WEIGHTS, SupernetFolder
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.grammar import parse_task

TASK = "kind=danger, kind=prohibition, kind=mandatory"
IMAGES, NETWORKS, RUNS = 600, 4, 300
Floats = NDArray[np.float32]


def by_nncf(**settings: Any) -> Callable[[bytes, Floats], bytes]:
    def quantised(fp32: bytes, x_NCHW: Floats) -> bytes:
        nncf = import_nncf()
        samples = nncf.Dataset([{INPUT: x[None]} for x in x_NCHW])
        with quiet():
            int8 = nncf.quantize(onnx.ModelProto.FromString(fp32), samples, subset_size=len(x_NCHW), **settings)
        return bytes(int8.SerializeToString())

    return quantised


def ways() -> Mapping[str, Callable[[bytes, Floats], bytes]]:
    import_nncf()
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    tensor = {"activations_quantization_params": QuantizationParameters(per_channel=False)}
    extremes = {"activations_range_estimator_params": RangeEstimatorParametersSet.MINMAX}
    as_ours = AdvancedQuantizationParameters(**tensor, **extremes, disable_bias_correction=True)
    return {
        "NNCF's defaults": by_nncf(),
        "one scale for a tensor": by_nncf(advanced_parameters=AdvancedQuantizationParameters(**tensor)),
        "and the slower bias correction": by_nncf(
            advanced_parameters=AdvancedQuantizationParameters(**tensor), fast_bias_correction=False
        ),
        "and extremes, no bias correction": by_nncf(advanced_parameters=as_ours),
        "and zero points": quantize_onnx,
        "and the layer of the pictures in float32: edgekit's": lambda fp32, x_NCHW: quantize_onnx(
            fp32, x_NCHW, kept_float=picture_layers(fp32)
        ),
    }


def models(folder: SupernetFolder, count: int, seed: int) -> list[Model]:
    spec, task = folder.spec, parse_task(TASK, folder.vocabulary)
    supernet = folder.load(folder.read_tensors(WEIGHTS))
    found = []
    for genotype in random_genotypes(spec, seed)[:count]:
        size = spec.image_size_of(genotype)
        found.append(
            Model(
                module=slice_subnet(supernet, genotype, task),
                input_shape=(3, size, size),
                labels=task.outputs(folder.vocabulary),
                preprocessing=Preprocessing(height=size, width=size),
                operators=describe(spec, genotype, rows=len(task.indices), sums=None),
                provenance={"genotype": str(genotype)},
            )
        )
    return found


def pictures(folder: SupernetFolder, data: Path, count: int, seed: int) -> Floats:
    """`x_NHWC` training images of the task's labels."""
    size = folder.spec.image_size
    dataset = read_labelled(data, "train", image_size=size, vocabulary=folder.vocabulary)
    known = np.flatnonzero(np.isin(dataset.y_N, parse_task(TASK, folder.vocabulary).indices))
    chosen = np.random.default_rng(seed).permutation(known)[:count]
    return to_float(dataset.x_NCHW[chosen].transpose(0, 2, 3, 1), Preprocessing(height=size, width=size))


def tflite_answers(model: Model, calibration_NHWC: Floats, x_NHWC: Floats) -> Floats:
    exporter = exporter_for("tflite")
    with tempfile.TemporaryDirectory() as place:
        target = parse_target("rpi4:tflite-int8")
        artifact = exporter.export(model, target=target, calibration_N=calibration_NHWC, folder=Path(place))
        return exporter.run(artifact.path, x_NHWC).outputs


def least_ms(files: Mapping[str, bytes], x_NCHW: Floats) -> dict[str, float]:
    """Of one input."""
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    sessions = {
        name: onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
        for name, file in files.items()
    }
    least = dict.fromkeys(files, np.inf)
    for _ in range(RUNS):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(None, {INPUT: x_NCHW[:1]})
            least[name] = min(least[name], 1e3 * (time.perf_counter() - started))
    return least


def main() -> int:
    parser = options_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="one network; writes no record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = open_model(options, needs_data=True)
    x_NHWC = pictures(folder, options.data, IMAGES, options.seed)
    shipped_NHWC = folder.read_tensors(CALIBRATION)["x_NHWC"].numpy()
    shares: dict[str, list[float]] = {}
    ms: dict[str, float] = {}
    for model in models(folder, 1 if options.quick else NETWORKS, 3 + options.seed):
        assert model.preprocessing is not None
        calibration_NHWC = to_float(shipped_NHWC, model.preprocessing)
        files = {"float32": convert_onnx(model)}
        for name, quantised in ways().items():
            files[name] = quantised(files["float32"], to_torch(calibration_NHWC))
        answers = {name: outputs_of(file, to_torch(x_NHWC)) for name, file in files.items()}
        answers["TFLite"] = tflite_answers(model, calibration_NHWC, x_NHWC)
        for name, answers_NK in answers.items():
            shares.setdefault(name, []).append(agreement(answers_NK, answers["float32"]))
        for name, least in least_ms(files, to_torch(x_NHWC)).items():
            ms[name] = ms.get(name, 0.0) + least
    rows = [
        (name, f"{np.mean(found):.2%}", f"{min(found):.2%}", f"{ms[name]:.2f}" if name in ms else "")
        for name, found in shares.items()
    ]
    table = Table(f"Same answer in int8, {IMAGES} pictures", ("", "mean", "worst network", "ms"), rows)
    publish(
        "onnx_int8",
        [table],
        {"agreement": shares, "least_ms": ms},
        options.output,
        model=folder,
        write=not options.quick,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

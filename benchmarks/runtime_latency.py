"""Steady latency on this machine, side by side: TFLite, ONNX Runtime, TVM as it comes, our TVM kernels untuned and tuned, torch.

    python benchmarks/runtime_latency.py export            # the files of five random genotypes of signs43 and of MobileNetV2
    python benchmarks/runtime_latency.py tune [--minutes 10]  # for each network, one thread; goes on where it stopped
    python benchmarks/runtime_latency.py report [--rounds 15] [-o RESULT.json]

Files and tiles lie in `--folder`. The report runs every file in turn, rounds interleaved, on one and on two threads, and gives
medians over rounds of the ratio to the fastest other runtime; then where the time of the tuned networks goes, by kind of kernel.
MobileNetV2 has random weights, which change no time. TVM as it comes compiles the same ONNX file with its own default schedules.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from harness import Table, bars, publish
from mobilenet_v2 import MobileNetV2
from random_inputs import all_labels, random_prefix

from edgekit.assembler.assembler import Assembler
from edgekit.core.model import Model, Preprocessing, Quantization, Scheme
from edgekit.core.quantity import Evidence
from edgekit.devices.boards.board import load_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.device import load_device
from edgekit.exporters.onnx_file import convert_onnx
from edgekit.exporters.onnx_quantization import quantize_onnx
from edgekit.exporters.tflite import convert_fp32, quantizer_of
from edgekit.exporters.tvm.compiler import lowered
from edgekit.exporters.tvm.cpu import cpu_of, host_target
from edgekit.exporters.tvm.library import compile_library, link_functions
from edgekit.exporters.tvm.network import channels_last
from edgekit.exporters.tvm.products import workloads_of
from edgekit.exporters.tvm.tile_database import TileDatabase
from edgekit.exporters.tvm.toolchain import linker_for
from edgekit.exporters.tvm.tuning import Bench, tune
from edgekit.supernet.description import describe
from edgekit.supernet.storage import CALIBRATION, open_supernet
from edgekit.supernet.subnet import slice_subnet

GENOTYPES, SEED = 5, 0
TILES = "tiles.json"
OTHERS = ("tflite", "onnx", "torch")
BAR = 1.5


def networks() -> dict[str, Model]:
    folder = open_supernet("signs43")
    assembler, spec = Assembler.load(folder), folder.spec
    task, rng = all_labels(folder.vocabulary), np.random.default_rng(SEED)
    found = {}
    for _ in range(GENOTYPES):
        genotype = random_prefix(rng, spec)
        size = spec.image_size_of(genotype)
        found[str(genotype)] = Model(
            module=slice_subnet(assembler.supernet, genotype, task),
            input_shape=(3, size, size),
            labels=task.outputs(folder.vocabulary),
            preprocessing=Preprocessing(height=size, width=size),
            operators=describe(spec, genotype, rows=len(folder.vocabulary), sums=None),
        )
    found["MobileNetV2"] = Model(
        module=MobileNetV2(SEED).eval(), input_shape=(3, 224, 224), labels=(), preprocessing=None, operators=()
    )
    return found


def export(options: argparse.Namespace) -> None:
    """Of each network: .tflite, .onnx and .pt2, and the libraries of TVM as it comes and of our untuned kernels."""
    calibration_NHWC = open_supernet("signs43").read_tensors(CALIBRATION)["x_NHWC"].numpy()[:128] / np.float32(255)
    for name, model in networks().items():
        folder = options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        _, height, width = model.input_shape
        rng = np.random.default_rng(SEED)
        x_NHWC = calibration_NHWC if model.labels else rng.random((8, height, width, 3), dtype=np.float32)
        np.save(folder / "x.npy", x_NHWC[:1])
        fp32, onnx = convert_fp32(model), convert_onnx(model)
        (folder / "tflite-fp32.tflite").write_bytes(fp32)
        int8 = quantizer_of(model, fp32, x_NHWC).quantize(Quantization(scheme=Scheme.INT8))
        (folder / "tflite-int8.tflite").write_bytes(int8)
        (folder / "onnx-fp32.onnx").write_bytes(onnx)
        quantised = quantize_onnx(onnx, np.ascontiguousarray(x_NHWC.transpose(0, 3, 1, 2)), kept_float=frozenset())
        (folder / "onnx-int8.onnx").write_bytes(quantised)
        x_NCHW = torch.zeros(1, *model.input_shape)
        torch.export.save(torch.export.export(model.module, (x_NCHW,)), folder / "torch-fp32.pt2")
        compile_as_it_comes(onnx, folder / "tvm_default-fp32.so")
        for precision, file in (("fp32", onnx), ("int8", quantised)):
            compile_ours(file, folder / f"tvm_untuned-{precision}.so", TileDatabase())
        print(f"exported {name}", flush=True)


def compile_as_it_comes(onnx: bytes, path: Path) -> None:
    import onnx as library
    import tvm
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.support.cc import cross_compiler

    module = from_onnx(library.ModelProto.FromString(onnx), keep_params_in_input=False)
    with host_target():
        module = tvm.relax.get_pipeline("zero")(module)
    built = tvm.compile(module, target=host_target())
    built.export_library(str(path), fcompile=cross_compiler(linker_for("x86_64-linux-gnu")))


def compile_ours(onnx: bytes, path: Path, database: TileDatabase) -> None:
    target = host_target()
    cpu = cpu_of(target)
    module = lowered(onnx, target, cpu, lambda workload: database.tile(workload, cpu))
    compile_library(module, target, linker_for("x86_64-linux-gnu"), path, {})


def tune_all(options: argparse.Namespace) -> None:
    """One network after the other, each for so many minutes, on one thread of this machine."""
    place = options.folder / TILES
    cpu = cpu_of(host_target())
    for name in networks():
        folder = options.folder / name
        onnx = (folder / "onnx-fp32.onnx").read_bytes()
        workloads = workloads_of(channels_last(onnx, cpu.activations))
        started = time.monotonic()
        ends = started + 60 * options.minutes
        with open_board(load_board("local")) as session:
            bench = Bench(
                device=load_device("host"),
                costs=lambda library, functions: session.kernels(library, functions, threads=1),
                evidence=Evidence.MEASURED,
                source="this machine, 1 thread",
            )
            database = tune(
                workloads,
                TileDatabase.read(place),
                bench,
                late=lambda ends=ends: time.monotonic() > ends,
                keep=lambda database: database.write(place),
                progress=lambda _line: None,
            )
        compile_ours(onnx, folder / "tvm_tuned-fp32.so", database)
        record = {"minutes": round((time.monotonic() - started) / 60, 2), "limit": options.minutes}
        (folder / "tuning.json").write_text(json.dumps(record))
        tried = sum(database.tuned[workload.key].tried for workload in workloads if workload.key in database.tuned)
        print(f"{name}: {len(workloads)} workloads, {tried} tiles, {record['minutes']} minutes", flush=True)


def timed(folder: Path, threads: int, rounds: int) -> dict[str, list[float]]:
    program = Path(__file__).with_name("timed_runtimes.py")
    command = [sys.executable, str(program), str(folder), str(threads), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(folder: Path, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Each file's milliseconds, the median of rounds, and the median over rounds of its ratio to the fastest other runtime of its
    precision in the same round."""
    times = timed(folder, threads, rounds)
    found = []
    for file, of_file in times.items():
        runtime, precision = Path(file).stem.split("-")
        others = [times[each] for each in times if each.split("-")[0] in OTHERS and f"-{precision}." in each]
        ratios = [mine / min(theirs) for mine, *theirs in zip(of_file, *others, strict=True)]
        found.append(
            {
                "network": folder.name,
                "threads": threads,
                "runtime": runtime,
                "precision": precision,
                "ms": median(of_file),
                "ratio": median(ratios),
            }
        )
    return found


def kernels_of(folder: Path, database: TileDatabase) -> list[dict[str, Any]]:
    """Where the time of the tuned network goes: each kind of kernel, alone, with the GFLOP/s that it reaches."""
    target = host_target()
    cpu = cpu_of(target)
    onnx = (folder / "onnx-fp32.onnx").read_bytes()
    module = lowered(onnx, target, cpu, lambda workload: database.tile(workload, cpu))
    calls, macs = calls_and_macs(module)
    functions = {
        variable.name_hint: function for variable, function in module.functions_items() if variable.name_hint in calls
    }
    library, spec = folder / "kernels" / "kernels.so", folder / "kernels" / "kernels.json"
    library.parent.mkdir(exist_ok=True)
    link_functions(functions, target, linker_for("x86_64-linux-gnu"), library)
    spec.write_text(
        json.dumps(
            [
                {
                    "name": name,
                    "arguments": [[[int(n) for n in buffer.shape], str(buffer.dtype)] for buffer in function.params],
                }
                for name, function in functions.items()
            ]
        )
    )
    with open_board(load_board("local")) as session:
        costs = session.kernels(library, spec, threads=1)
    kinds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for name, us in zip(functions, costs, strict=True):
        kind = next((kind for kind in ("convolution", "depthwise", "dense") if kind in name), "other")
        for index, value in enumerate((calls[name], calls[name] * us, calls[name] * macs[name])):
            kinds[kind][index] += value
    return [
        {
            "network": folder.name,
            "kind": kind,
            "calls": int(count),
            "us": us,
            "gflops": 2 * done / us / 1e3,
        }
        for kind, (count, us, done) in kinds.items()
    ]


def calls_and_macs(module: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Of each function of a lowered module: how often the network calls it, and the products of one call."""
    from tvm import ir, relax

    calls: dict[str, int] = defaultdict(int)
    macs: dict[str, int] = {}

    def note(expression: Any) -> None:
        if (
            isinstance(expression, relax.Call)
            and isinstance(expression.op, ir.Op)
            and expression.op.name == "relax.call_tir"
        ):
            name = expression.args[0].name_hint
            calls[name] += 1
            weights = [each for each in expression.args[1] if isinstance(each, relax.Constant)]
            shape = [int(length) for length in weights[0].ty.shape] if weights else []
            out = int(np.prod([int(length) for length in expression.ty.shape]))
            if "convolution" in name:
                macs[name] = out * int(np.prod(shape[1:4]))
            elif "depthwise" in name:
                macs[name] = out * int(np.prod(shape[:2]))
            elif "dense" in name:
                macs[name] = out * shape[1]
            else:
                macs[name] = 0

    relax.analysis.post_order_visit(module["main"].body, note)
    return calls, macs


def report(options: argparse.Namespace) -> int:
    names = [name for name in networks() if (options.folder / name / "tvm_tuned-fp32.so").is_file()]
    rows = [
        row for name in names for threads in (1, 2) for row in rows_of(options.folder / name, threads, options.rounds)
    ]
    database = TileDatabase.read(options.folder / TILES)
    kernels = [row for name in names for row in kernels_of(options.folder / name, database)]
    minutes = {name: json.loads((options.folder / name / "tuning.json").read_text()) for name in names}
    tuned = [row["ratio"] for row in rows if row["runtime"] == "tvm_tuned"]
    worst = max(tuned)
    tables = [
        Table(
            "Median ms, and its ratio to the fastest of TFLite, ONNX Runtime and torch",
            ("network", "threads", "precision", "runtime", "ms", "ratio"),
            [
                (
                    row["network"],
                    row["threads"],
                    row["precision"],
                    row["runtime"],
                    f"{row['ms']:.3f}",
                    f"{row['ratio']:.2f}",
                )
                for row in sorted(rows, key=lambda row: (row["network"], row["threads"], row["precision"], row["ms"]))
            ],
        ),
        Table(
            "Where the tuned networks spend their time: kernels alone, one thread",
            ("network", "kind", "calls", "us", "GFLOP/s"),
            [
                (row["network"], row["kind"], row["calls"], f"{row['us']:.1f}", f"{row['gflops']:.1f}")
                for row in kernels
            ],
        ),
        bars(("tuned TVM over the best other, the worst case", f"{worst:.2f}", f"at most {BAR}", worst <= BAR)),
    ]
    publish("runtime_latency", tables, {"rows": rows, "kernels": kernels, "tuning": minutes}, options.output)
    return 0 if worst <= BAR else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("export", "tune", "report"))
    parser.add_argument("--folder", type=Path, required=True, help="where files and tiles lie")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.step == "report":
        return report(options)
    {"export": export, "tune": tune_all}[options.step](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())

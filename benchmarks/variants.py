"""What three networks of one supernet cost in one file, and what in three: bytes, and time and memory to load.

    python benchmarks/variants.py [--model MODEL] [--task TASK] [--target TARGET] [--runs N] [-o RESULT.json]

The limits are shares of the full supernet's predicted latency, in the way of every build. Each network is also built alone:
the one file must name the same genotype and give the same outputs bit for bit. Loading is timed in fresh processes on this
machine, the file in the system's cache: milliseconds from the name of the file to the first answer, and the memory that the
process grew by until then.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from harness import Table, absent, bars, open_model, options_of, publish

from edgekit.assembler.assembler import Assembler
from edgekit.core.budget import Budget
from edgekit.devices.cost_model import load_cost_model
from edgekit.devices.target import Target, parse_target
from edgekit.exporters.flatbuffer import unpack
from edgekit.exporters.merge import overlay
from edgekit.exporters.runner import run_in_subprocess
from edgekit.pipeline.build import build
from edgekit.pipeline.figures import price
from edgekit.pipeline.variants import build_variants
from edgekit.supernet.storage import SupernetFolder
from edgekit.tasks.grammar import parse_task

TASKS = {"signs43": "kind=danger", "things200": "dog, cat, other"}
SHARES = (0.35, 0.55, 0.8)
BAR_SAVED = 0.2


def weights_of(content: bytes) -> list[bytes]:
    """What the tensors of a file hold, each buffer once."""
    model = unpack(content, name="model.tflite")
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    return [data.tobytes() for index in sorted(used) if (data := model.buffers[index].data) is not None]


def loaded(path: Path, signature: str | None, runs: int) -> dict[str, float]:
    """Medians of fresh processes."""
    program = Path(__file__).with_name("timed_load.py")
    command = [sys.executable, str(program), str(path), *([] if signature is None else [signature])]
    records = []
    for _ in range(runs):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            absent(f"{path.name} does not load: {done.stderr.strip()[-300:]}")
        records.append(json.loads(done.stdout))
    return {key: median(record[key] for record in records) for key in records[0]}


def limits_of(model: SupernetFolder, task: str, target: Target) -> dict[str, float]:
    """By name, in ms, with three digits."""
    cost_of = partial(price, load_cost_model(target), target.precision)
    full_ms = Assembler.load(model).tables(parse_task(task, model.vocabulary), cost_of).full.latency_ms
    return {f"{limit:g}ms": limit for limit in (float(f"{share * full_ms:.3g}") for share in SHARES)}


def kinds_of_bytes(together: Path, apart: Sequence[Path]) -> dict[str, int]:
    """Where the bytes go: weights by how they are stored, and what is no weights."""
    files = [path.read_bytes() for path in apart]
    weights = [weights_of(content) for content in files]
    every = [one for part in weights for one in part]
    region, _ = overlay(every)
    merged = together.stat().st_size
    return {
        "apart_bytes": sum(map(len, files)),
        "together_bytes": merged,
        "weights_apart_bytes": sum(map(len, every)),
        "weights_equal_once_bytes": sum(map(len, set(every))),
        "weights_beginnings_inside_bytes": len(region),
        "rest_apart_bytes": sum(map(len, files)) - sum(map(len, every)),
        "rest_together_bytes": merged - len(region),
    }


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--task", help="default: " + ", ".join(f"{task} of {name}" for name, task in TASKS.items()))
    parser.add_argument("--target", default="rpi4", help="a board, with a precision of its runtime if not int8")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    model = open_model(options)
    task = options.task or TASKS.get(model.name) or absent("name a --task for this supernet")
    limits = limits_of(model, task, parse_target(options.target))

    rows, records, paths = [], [], []
    with tempfile.TemporaryDirectory(prefix="edgekit-benchmark-") as name:
        folder = Path(name)
        inputs = {"task": task, "target": options.target, "model": model.path, "seed": options.seed}
        listed = ",".join(limits)
        result = build_variants(variants=listed, output=folder / "together", **inputs)
        together = folder / "together" / "model.tflite"
        for variant in result.variants:
            budget = Budget(latency_ms=limits[variant.name])
            alone = build(budget=budget, output=folder / variant.name, **inputs)
            path = alone.folder / "model.tflite"
            x_NHWC = np.random.default_rng(0).random((8, variant.image_size, variant.image_size, 3), np.float32)
            outputs = run_in_subprocess(path, x_NHWC).outputs
            same = np.array_equal(run_in_subprocess(together, x_NHWC, signature=variant.name).outputs, outputs)
            times = {
                "alone": loaded(path, None, options.runs),
                "together": loaded(together, variant.name, options.runs),
            }
            records.append(
                {
                    "name": variant.name,
                    "genotype": variant.genotype,
                    "image_size": variant.image_size,
                    "accuracy_predicted": variant.figure("accuracy").value,
                    "alone_bytes": path.stat().st_size,
                    "equal": bool(same and alone.genotype == variant.genotype),
                    **times,
                }
            )
            cells = [f"{times[where]['answer_ms']:.2f}" for where in ("alone", "together")]
            cells += [f"{times[where]['memory_bytes'] / 1e6:.1f}" for where in ("alone", "together")]
            rows.append((variant.name, f"{path.stat().st_size:,}", *cells, variant.genotype))
            paths.append(path)
        kinds = kinds_of_bytes(together, paths)

    saved = 1 - kinds["together_bytes"] / kinds["apart_bytes"]
    equal = all(record["equal"] for record in records)
    columns = ("variant", "bytes alone", "answer ms", "in one file", "memory MB", "in one file", "genotype")
    title = f'{model.name}, task "{task}", {result.plan.plan.target}: load times are of this machine'
    kept = bars(
        ("bytes saved by one file", f"{saved:.0%}", f"at least {BAR_SAVED:.0%}", saved >= BAR_SAVED),
        ("networks equal to those built alone", f"{sum(record['equal'] for record in records)}", "3", equal),
    )
    bytes_table = Table(
        "Bytes", ("", "bytes"), [(key.removesuffix("_bytes"), f"{value:,}") for key, value in kinds.items()]
    )
    figures = {
        "task": task,
        "target": str(result.plan.plan.target),
        "runs": options.runs,
        "met": saved >= BAR_SAVED and equal,
        "saved": saved,
        **kinds,
        "variants": records,
    }
    name = f"variants_{model.name}_{result.plan.plan.target.precision}"
    publish(name, [Table(title, columns, rows), bytes_table, kept], figures, options.output, model=model)


if __name__ == "__main__":
    main()

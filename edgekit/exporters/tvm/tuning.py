"""Finds the tile that a workload runs fastest with: compiles some, has them timed on the device, keeps the best in a database."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from edgekit.core.quantity import Evidence
from edgekit.devices.device import Device
from edgekit.exporters.tvm.cpu import Cpu, cpu_of, tvm_target
from edgekit.exporters.tvm.kernels import kernel, packed_shape
from edgekit.exporters.tvm.library import link_functions
from edgekit.exporters.tvm.schedule import schedule_function
from edgekit.exporters.tvm.tile import Tile, Workload, default_tile, tiles
from edgekit.exporters.tvm.tile_database import TileDatabase, Tuned
from edgekit.exporters.tvm.toolchain import linker_for

# Compiled into one library and timed together.
BATCH: Final = 8
# A tile must be better than the best one by more than this, in the same run, to take its place.
LEAST_GAIN: Final = 0.02

Costs = Callable[[Path, Path], Sequence[float]]
"""(library, JSON file of its functions and their arguments) -> what each costs, as `BoardSession.kernels`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Where tiles are tried: `costs` times them or counts their instructions, which `evidence` says; `source` names the board."""

    device: Device
    costs: Costs
    evidence: Evidence
    source: str


def tune(
    workloads: Sequence[Workload],
    database: TileDatabase,
    bench: Bench,
    *,
    late: Callable[[], bool],
    keep: Callable[[TileDatabase], None],
    progress: Callable[[str], None],
) -> TileDatabase:
    """Tries tiles in turns over all workloads, the largest first, until `late` or until all are tried.

    Each turn times a few new tiles of one workload beside its default and its best so far; `keep` gets the database after it, from
    which another call goes on. Figures of other evidence than the bench's are begun anew. Raises whatever TVM and `costs` raise.
    """
    target = tvm_target(bench.device)
    cpu = cpu_of(target)
    waiting = sorted(set(workloads), key=lambda workload: -workload.macs)
    while waiting:
        for workload in list(waiting):
            if late():
                return database
            before = database.tuned.get(workload.key)
            if before is not None and before.evidence is not bench.evidence:
                before = None
            done = 0 if before is None else before.tried
            candidates = list(islice(tiles(workload, cpu), done, done + BATCH))
            if not candidates:
                waiting.remove(workload)
                continue
            tuned = _turn(workload, candidates, before, bench, target, cpu)
            database = database.with_tuned(workload, tuned)
            keep(database)
            progress(f"{workload.key}: {tuned.tried} tiles, {tuned.cost / tuned.default_cost:.2f} of the default")
    return database


def _turn(
    workload: Workload, candidates: Sequence[Tile], before: Tuned | None, bench: Bench, target: Any, cpu: Cpu
) -> Tuned:
    default = default_tile(workload, cpu)
    best = default if before is None else before.tile
    asked = list(dict.fromkeys((default, best, *candidates)))
    costs = dict(zip(asked, _costs(workload, asked, bench, target, cpu), strict=True))
    winner = min(asked, key=costs.__getitem__)
    if costs[winner] > (1 - LEAST_GAIN) * costs[best]:
        winner = best
    tried = len(candidates) + (0 if before is None else before.tried)
    return Tuned(
        tile=winner,
        cost=costs[winner],
        default_cost=costs[default],
        tried=tried,
        evidence=bench.evidence,
        source=bench.source,
    )


def _costs(workload: Workload, asked: Sequence[Tile], bench: Bench, target: Any, cpu: Cpu) -> Sequence[float]:
    with tempfile.TemporaryDirectory(prefix="edgekit-tuning-") as name:
        library, functions = Path(name) / "kernels.so", Path(name) / "kernels.json"
        made = {f"tile_{index}": _function(workload, tile, cpu) for index, tile in enumerate(asked)}
        link_functions(
            {name: schedule_function(function, cpu) for name, function in made.items()},
            target,
            linker_for(bench.device.triple),
            library,
        )
        spec = [{"name": name, "arguments": _arguments(function)} for name, function in made.items()]
        functions.write_text(json.dumps(spec), encoding="ascii")
        return bench.costs(library, functions)


def _arguments(function: Any) -> list[Any]:
    return [[[int(length) for length in buffer.shape], str(buffer.dtype)] for buffer in function.params]


def _function(workload: Workload, tile: Tile, cpu: Cpu) -> Any:
    """The kernel with what mostly follows it: a bias and a ReLU, and for integers their scale before and rounding after."""
    from tvm import te, tirx

    is_float = workload.precision != "int8"
    given = workload.precision if is_float else cpu.activations
    weights = te.placeholder(packed_shape(workload, tile, cpu), workload.precision, name="weights")
    shape = (
        (1, workload.channels) if workload.kind == "dense" else (1, workload.height, workload.width, workload.channels)
    )
    x = te.placeholder(shape, given, name="x")
    then = workload.precision if is_float else "float32"
    bias, scale = (te.placeholder((workload.out_channels,), then, name=name) for name in ("bias", "scale"))
    sums = kernel(workload, tile, cpu)(x, weights)

    def finished(*at: Any) -> Any:
        y = sums[at] if is_float else sums[at].astype("float32") * scale[at[-1]]
        y = te.max(y + bias[at[-1]], tirx.const(0, then))
        return y if is_float else te.min(tirx.round(y), tirx.const(127, "float32")).astype(cpu.activations)

    out = te.compute(sums.shape, finished, name="finished")
    return te.create_prim_func([x, weights, bias, *([] if is_float else [scale]), out])

"""Schedules: of the sums in `kernels`, with what follows them computed on each tile; and of everything else."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.exporters.tvm.cpu import Cpu, DotProduct
from edgekit.exporters.tvm.dot_product import intrinsic
from edgekit.exporters.tvm.kernels import BYTES, KIND, PRECISION, TILE, dot_product_for
from edgekit.exporters.tvm.tile import Tile, vector_length

_SPATIAL, _REDUCTION = 0, 2
# A vector of a number of channels that no vector register holds is cut by LLVM; above this it takes minutes to.
_LONGEST_ODD_VECTOR = 64
_ROOT = "root"
_FLOAT_BYTES = 4


def scheduled(module: Any, cpu: Cpu) -> Any:
    """A Relax module whose functions are all scheduled for the CPU."""
    from tvm import tirx

    functions = {
        variable: schedule_function(function, cpu)
        for variable, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    for variable, function in functions.items():
        module[variable] = function
    return module


def schedule_function(function: Any, cpu: Cpu) -> Any:
    """A `tvm.tirx.PrimFunc` for the CPU, by the same name."""
    from tvm import s_tir

    schedule = s_tir.Schedule(function)
    sums = [block for block in _blocks(schedule) if TILE in schedule.get(block).annotations]
    if sums:
        _Sum(schedule, sums[0], cpu).run()
    else:
        _schedule_simple(schedule, cpu)
    made = schedule.mod["main"]
    attributes = function.attrs or {}
    return made.with_attr("global_symbol", attributes["global_symbol"]) if "global_symbol" in attributes else made


class _Sum:
    """One kernel: its sums live in registers, tile by tile."""

    def __init__(self, schedule: Any, block: Any, cpu: Cpu) -> None:
        self.schedule, self.block, self.cpu = schedule, block, cpu
        annotations = schedule.get(block).annotations
        self.tile = Tile.from_json(annotations[TILE])
        self.kind, precision = str(annotations[KIND]), str(annotations[PRECISION])
        self.dot = dot_product_for(self.kind, precision, cpu)
        self.lanes = self.dot.channels if self.dot else vector_length(self.kind, precision, cpu)
        # What follows the sums of integers is computed in float32.
        self.finished_lanes = self.lanes if precision == "float16" else cpu.lanes
        for name in (TILE, KIND, PRECISION):
            schedule.unannotate(block, name)
        self.producers = list(schedule.get_producers(block))
        self.last = self._inline_between()

    def run(self) -> None:
        schedule = self.schedule
        outer, at, first, unrolled, lanes = self._tile()
        schedule.reverse_compute_at(self.last, at, preserve_unit_loops=True)
        schedule.set_scope(self.block, 0, "local")
        self._finish_producers(outer)
        self._finish_output(at)
        if self.tile.parallel:
            schedule.parallel(self._outermost(outer))
        for loop in unrolled:
            schedule.unroll(loop)
        if self.dot is None:
            schedule.vectorize(lanes)
        start = schedule.decompose_reduction(self.block, first)
        if self.dot is not None:
            self._use_dot_product(lanes, start, self.dot)

    def _inline_between(self) -> Any:
        """All that follows the sums goes into the block that writes the output, which is returned."""
        schedule = self.schedule
        (last,) = schedule.get_output_blocks(_ROOT)
        kept = {_name(schedule, block) for block in (self.block, last, *self.producers)}
        for block in _blocks(schedule):
            if _name(schedule, block) not in kept:
                schedule.compute_inline(block)
        return last

    def _tile(self) -> tuple[list[Any], Any, Any, list[Any], Any]:
        """Loops: the outermost, that which holds a tile, the first of the reduction, those to unroll, the lanes."""
        schedule, tile, dot = self.schedule, self.tile, self.dot
        loops = schedule.get_loops(self.block)
        spatial = 2 if self.kind == "dense" else 4
        n, *pixels, o = loops[:spatial]
        k, *reduction = loops[spatial:]
        within = 0 if dot is None else 2 if dot.depth > BYTES else 1
        inner, tail = reduction[: len(reduction) - within], reduction[len(reduction) - within :]
        vectors, lanes = schedule.split(k, [None, self.lanes])
        steps: list[Any] = []
        if self.kind != "depthwise":
            c, together = schedule.split(inner[-1], [None, _divisor(schedule, inner[-1], tile.steps)])
            inner, steps = [*inner[:-1], c], [together]
        if not pixels:
            schedule.reorder(n, o, *inner, *steps, vectors, lanes, *tail)
            return [o], o, inner[0], [*steps, vectors], lanes
        h, w = pixels
        rows, between, height = schedule.split(h, [None, max(1, tile.rows // tile.height), tile.height])
        columns, width = schedule.split(w, [None, tile.width])
        outer = [o, rows] if tile.channels_first else [rows, o]
        schedule.reorder(n, *outer, between, columns, *inner, *steps, height, width, vectors, lanes, *tail)
        unrolled = [*steps, height, width, vectors, *(inner if self.kind == "depthwise" else [])]
        return outer, columns, inner[0], unrolled, lanes

    def _finish_output(self, at: Any) -> None:
        schedule = self.schedule
        loops = schedule.get_loops(self.last)
        (place,) = (index for index, loop in enumerate(loops) if schedule.get(loop).same_as(schedule.get(at)))
        *pixels, channels = loops[place + 1 :]
        for loop in pixels:
            schedule.unroll(loop)
        _vectorize(schedule, channels, self.finished_lanes, unroll=True)

    def _use_dot_product(self, lanes: Any, start: Any, dot: DotProduct) -> None:
        schedule = self.schedule
        schedule.tensorize(lanes, intrinsic(dot.instruction))
        schedule.vectorize(schedule.get_loops(start)[-1])

    def _finish_producers(self, outer: list[Any]) -> None:
        """What pads the input is computed for the rows at hand."""
        schedule = self.schedule
        rows = outer[-1] if self.tile.channels_first or self.kind == "dense" else outer[0]
        for producer in self.producers:
            schedule.compute_at(producer, rows, preserve_unit_loops=True)
            _vectorize(schedule, schedule.get_loops(producer)[-1], _lanes(schedule, producer, self.cpu))

    def _outermost(self, outer: list[Any]) -> Any:
        """The two outer loops as one where they stand side by side: enough parts for every thread."""
        schedule = self.schedule
        has_parts = [loop for loop in outer if int(schedule.get(loop).extent) > 1]
        if self.tile.channels_first and len(outer) > 1:
            return schedule.fuse(*outer)
        return has_parts[0] if has_parts else outer[0]


def _schedule_simple(schedule: Any, cpu: Cpu) -> None:
    """What is computed element by element becomes one loop of vectors; of a reduction, the last axis that is kept is one."""
    from tvm.s_tir import ScheduleError

    outputs = {_name(schedule, block) for block in schedule.get_output_blocks(_ROOT)}
    for block in _blocks(schedule):
        if _name(schedule, block) not in outputs and not _is_reduction(schedule, block):
            try:
                schedule.compute_inline(block)
            except ScheduleError:
                continue  # it reads what others write in another order, and stays a loop of its own
    for block in _blocks(schedule):
        loops = schedule.get_loops(block)
        if not loops:
            continue
        if _is_reduction(schedule, block):
            _schedule_reduction(schedule, block, loops, cpu)
        else:
            _vectorize(schedule, schedule.fuse(*loops) if len(loops) > 1 else loops[0], _lanes(schedule, block, cpu))


def _schedule_reduction(schedule: Any, block: Any, loops: list[Any], cpu: Cpu) -> None:
    kinds = [int(variable.iter_type) for variable in schedule.get(block).iter_vars]
    kept = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _SPATIAL]
    summed = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCTION]
    if not kept or int(schedule.get(kept[-1]).extent) % cpu.lanes:
        return
    *others, last = kept
    vectors, lanes = schedule.split(last, [None, cpu.lanes])
    schedule.reorder(*others, vectors, *summed, lanes)
    schedule.vectorize(lanes)
    schedule.decompose_reduction(block, summed[0])


def _vectorize(schedule: Any, loop: Any, lanes: int, *, unroll: bool = False) -> None:
    """By whole vectors where they fit; with `unroll`, by one odd vector where it is no longer than LLVM takes well."""
    length = int(schedule.get(loop).extent)
    if length % lanes == 0 and length > lanes:
        vectors, inner = schedule.split(loop, [None, lanes])
        if unroll:
            schedule.unroll(vectors)
        schedule.vectorize(inner)
    elif length == lanes or (1 < length <= _LONGEST_ODD_VECTOR and unroll):
        schedule.vectorize(loop)


def _lanes(schedule: Any, block: Any, cpu: Cpu) -> int:
    """Elements of what a block writes in a vector register, where they divide its last axis; else as many as float32."""
    buffer = schedule.get(block).writes[0].buffer
    most = cpu.lanes * _FLOAT_BYTES // np.dtype(buffer.dtype).itemsize
    return most if int(buffer.shape[-1]) % most == 0 else cpu.lanes


def _divisor(schedule: Any, loop: Any, most: int) -> int:
    length = int(schedule.get(loop).extent)
    return max(each for each in range(1, most + 1) if length % each == 0)


def _is_reduction(schedule: Any, block: Any) -> bool:
    return any(int(variable.iter_type) == _REDUCTION for variable in schedule.get(block).iter_vars)


def _blocks(schedule: Any) -> list[Any]:
    return list(schedule.get_child_blocks(schedule.get_sblock(_ROOT)))


def _name(schedule: Any, block: Any) -> str:
    return str(schedule.get(block).name_hint)

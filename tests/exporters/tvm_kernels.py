"""Single kernels of the TVM compiler, compiled and run in this process, beside what torch computes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from edgekit.exporters.tvm.cpu import Cpu
from edgekit.exporters.tvm.kernels import kernel, packed
from edgekit.exporters.tvm.schedule import scheduled
from edgekit.exporters.tvm.tile import Tile, Workload

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workload with the tile it is cut by, and what it is given: `w` as `kernels.packed` takes it."""

    workload: Workload
    tile: Tile
    x: Array
    w: Array
    zero_point: int = 0

    @property
    def output_shape(self) -> tuple[int, ...]:
        work = self.workload
        pixels = () if work.kind == "dense" else (work.out_height, work.out_width)
        return (1, *pixels, work.out_channels)

    @property
    def output_type(self) -> str:
        return "int32" if self.workload.precision == "int8" else self.workload.precision


def module_of(cases: Iterable[Case], cpu: Cpu) -> Any:
    """The scheduled functions `kernel0`, `kernel1`, ... of (x, packed weights, output)."""
    from tvm import IRModule, te

    functions = {}
    for number, case in enumerate(cases):
        x = te.placeholder(case.x.shape, case.x.dtype.name, name="x")
        weights = packed(case.w, case.workload, case.tile, cpu)
        w = te.placeholder(weights.shape, weights.dtype.name, name="w")
        y = kernel(case.workload, case.tile, cpu, padding_value=case.zero_point)(x, w)
        name = f"kernel{number}"
        functions[name] = te.create_prim_func([x, w, y]).with_attr("global_symbol", name)
    return scheduled(IRModule(functions), cpu)


def outputs(cases: Sequence[Case], target: Any, cpu: Cpu) -> list[Array]:
    import tvm

    compiled = tvm.compile(module_of(cases, cpu), target)
    answers = []
    for number, case in enumerate(cases):
        y = tvm.runtime.tensor(np.zeros(case.output_shape, case.output_type))
        weights = packed(case.w, case.workload, case.tile, cpu)
        compiled[f"kernel{number}"](tvm.runtime.tensor(case.x), tvm.runtime.tensor(weights), y)
        answers.append(y.numpy())
    return answers


def by_torch(case: Case) -> Array:
    """In float64, which holds every sum of products of bytes exactly. Beyond the borders lies the zero point."""
    work = case.workload
    x, w = torch.from_numpy(case.x.astype(np.float64)), torch.from_numpy(case.w.astype(np.float64))
    if work.kind == "dense":
        return np.asarray((x @ w).numpy())
    top, left, bottom, right = work.padding
    x_NCHW = functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=float(case.zero_point))
    groups = work.channels if work.kind == "depthwise" else 1
    y_NCHW = functional.conv2d(x_NCHW, w.permute(0, 3, 1, 2), stride=work.stride, dilation=work.dilation, groups=groups)
    return np.asarray(y_NCHW.permute(0, 2, 3, 1).numpy())


def check(cases: Sequence[Case], target: Any, cpu: Cpu) -> None:
    """Integers exactly, float32 within 1e-5 of the largest output, halves within 8 of their roundings of the sum of all sizes."""
    for case, answer in zip(cases, outputs(cases, target, cpu), strict=True):
        expected = by_torch(case)
        assert answer.shape == expected.shape
        if case.workload.precision == "int8":
            np.testing.assert_array_equal(answer, expected, err_msg=f"{case.workload.key}, {case.tile}")
        elif case.workload.precision == "float16":
            sizes = by_torch(replace(case, x=np.abs(case.x), w=np.abs(case.w)))
            assert np.all(np.abs(answer - expected) <= 8 * 2.0**-11 * sizes), f"{case.workload.key}, {case.tile}"
        else:
            within = 1e-5 * max(float(np.abs(expected).max()), 1e-6)
            np.testing.assert_allclose(
                answer, expected, rtol=0, atol=within, err_msg=f"{case.workload.key}, {case.tile}"
            )


def case_of(
    workload: Workload, tile: Tile, cpu: Cpu, *, seed: int = 0, zero_point: int = 0, extreme: bool = False
) -> Case:
    """Random activations and weights; `extreme` ones are the least and the greatest integers alone."""
    rng = np.random.default_rng(seed)
    x_shape: tuple[int, ...] = (1, workload.height, workload.width, workload.channels)
    w_shape: tuple[int, ...] = (workload.out_channels, *workload.kernel, workload.channels)
    if workload.kind == "depthwise":
        w_shape = (*w_shape[:-1], 1)
    if workload.kind == "dense":
        x_shape, w_shape = (1, workload.channels), (workload.channels, workload.out_channels)
    if workload.precision != "int8":
        x, w = (rng.standard_normal(shape, np.float32).astype(workload.precision) for shape in (x_shape, w_shape))
        return Case(workload=workload, tile=tile, x=x, w=w)
    limits = np.iinfo(cpu.activations)
    if extreme:
        x, w = rng.choice((limits.min, limits.max), x_shape), rng.choice((-127, 127), w_shape)
    else:
        x, w = rng.integers(limits.min, limits.max + 1, x_shape), rng.integers(-127, 128, w_shape)
    return Case(
        workload=workload,
        tile=tile,
        x=x.astype(cpu.activations),
        w=w.astype(np.int8),
        zero_point=int(np.clip(zero_point, limits.min, limits.max)),
    )

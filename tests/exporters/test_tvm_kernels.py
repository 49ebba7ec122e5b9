"""Every kernel of the TVM compiler computes what torch computes, on whatever processor, however it is cut."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pytest

pytest.importorskip("tvm", reason="TVM is not installed: pip install 'edgekit[tvm]'")

from hypothesis import given, settings
from hypothesis import strategies as st
from tvm_kernels import case_of, check, module_of

from edgekit.exporters.tvm.cpu import Cpu, cpu_of, host_target
from edgekit.exporters.tvm.tile import Kind, Workload, default_tile, tiles

PLAIN = "x86-64-v2"  # without instructions that multiply bytes
FEW = settings(max_examples=6, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True, kw_only=True)
class Machine:
    target: Any
    cpu: Cpu


@pytest.fixture(scope="module", params=["native", PLAIN])
def machine(request: pytest.FixtureRequest) -> Machine:
    """This processor with all that it has, and with what every one has."""
    from tvm.target import Target

    target = host_target() if request.param == "native" else Target({"kind": "llvm", "mcpu": PLAIN})
    return Machine(target=target, cpu=cpu_of(target))


@st.composite
def convolutions(draw: st.DrawFn) -> Workload:
    """Of both kinds: odd channels, kernels up to 5 x 5, asymmetric padding, down to images of one pixel."""
    kind: Kind = draw(st.sampled_from(("convolution", "depthwise")))
    channels = draw(st.sampled_from((1, 3, 6, 16, 22, 43)))
    out_channels = channels if kind == "depthwise" else draw(st.sampled_from((6, 8, 22, 32, 43)))
    kernel, stride, dilation, out = (
        (draw(values), draw(values))
        for values in (st.sampled_from((1, 3, 5)), st.integers(1, 2), st.integers(1, 2), st.integers(1, 9))
    )
    reach = [between * (length - 1) + 1 for length, between in zip(kernel, dilation, strict=True)]
    before, after = ([draw(st.integers(0, length - 1)) for length in reach] for _ in range(2))
    lengths = [
        max(1, (count - 1) * step + length - sum(pads))
        for count, step, length, pads in zip(out, stride, reach, zip(before, after, strict=True), strict=True)
    ]
    out = tuple(
        (length + sum(pads) - far) // step + 1
        for length, pads, far, step in zip(lengths, zip(before, after, strict=True), reach, stride, strict=True)
    )
    return Workload(
        kind=kind,
        precision="float32",
        height=lengths[0],
        width=lengths[1],
        channels=channels,
        out_height=out[0],
        out_width=out[1],
        out_channels=out_channels,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=(before[0], before[1], after[0], after[1]),
    )


def dense(channels: int, out_channels: int) -> Workload:
    return Workload(
        kind="dense",
        precision="float32",
        height=1,
        width=1,
        channels=channels,
        out_height=1,
        out_width=1,
        out_channels=out_channels,
    )


def in_all_precisions(workload: Workload, machine: Machine, *, zero_point: int = 0) -> list[Any]:
    """With random numbers, and with the least and greatest integers."""
    float16, int8 = (replace(workload, precision=precision) for precision in ("float16", "int8"))
    cpu = machine.cpu
    return [
        case_of(workload, default_tile(workload, cpu), cpu),
        case_of(float16, default_tile(float16, cpu), cpu),
        case_of(int8, default_tile(int8, cpu), cpu, zero_point=zero_point),
        case_of(int8, default_tile(int8, cpu), cpu, zero_point=zero_point, extreme=True),
    ]


@FEW
@given(convolutions(), st.integers(-128, 255))
def test_convolutions_equal_torch(machine: Machine, workload: Workload, zero_point: int) -> None:
    check(in_all_precisions(workload, machine, zero_point=zero_point), machine.target, machine.cpu)


def test_dense_layers_equal_torch(machine: Machine) -> None:
    workloads = [dense(*lengths) for lengths in ((1, 1), (6, 43), (22, 6), (43, 22), (64, 64), (130, 300))]
    cases = [case for workload in workloads for case in in_all_precisions(workload, machine)]
    check(cases, machine.target, machine.cpu)


CUT = {
    "padded": Workload(
        kind="convolution",
        precision="float32",
        height=6,
        width=4,
        channels=6,
        out_height=6,
        out_width=4,
        out_channels=22,
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
    ),
    "pointwise": Workload(
        kind="convolution",
        precision="float32",
        height=4,
        width=8,
        channels=16,
        out_height=4,
        out_width=8,
        out_channels=22,
    ),
    "depthwise": Workload(
        kind="depthwise",
        precision="float32",
        height=7,
        width=8,
        channels=22,
        out_height=4,
        out_width=4,
        out_channels=22,
        kernel=(3, 3),
        stride=(2, 2),
        padding=(1, 1, 1, 1),
    ),
    "dense": dense(22, 43),
}


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("workload", CUT.values(), ids=CUT)
def test_every_tile_gives_the_same(workload: Workload, precision: Any) -> None:
    target = host_target()
    cpu = cpu_of(target)
    asked = replace(workload, precision=precision)
    found = list(islice(tiles(asked, cpu), 24))
    assert len(found) > 1
    assert len(set(found)) == len(found)
    check([case_of(asked, tile, cpu, zero_point=3) for tile in found], target, cpu)


@pytest.mark.parametrize(
    ("mcpu", "lanes", "registers"),
    [("x86-64", 4, 16), ("haswell", 8, 16), ("skylake-avx512", 16, 32), ("cortex-a72", 4, 32)],
)
def test_vectors_are_those_of_the_processor(mcpu: str, lanes: int, registers: int) -> None:
    import tvm

    triple = "aarch64-linux-gnu" if mcpu.startswith("cortex") else "x86_64-linux-gnu"
    cpu = cpu_of(tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": mcpu}))
    assert (cpu.lanes, cpu.registers) == (lanes, registers)


@pytest.mark.parametrize(
    ("mcpu", "instruction"), [("cortex-a53", "smull"), ("cortex-a72", "smull"), ("cortex-a76", "sdot")]
)
def test_boards_multiply_bytes_by_their_own_instructions(mcpu: str, instruction: str) -> None:
    import tvm

    target = tvm.target.Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": mcpu})
    cpu = cpu_of(target)
    cases = [
        case_of(replace(each, precision=precision), default_tile(replace(each, precision=precision), cpu), cpu)
        for each in CUT.values()
        for precision in ("float32", "int8")
    ]
    compiled = tvm.tirx.build(module_of(cases, cpu), target=target)
    assert instruction in compiled.inspect_source("asm")


def test_processors_with_half_precision_multiply_and_add_eight_halves_in_one_instruction() -> None:
    import tvm

    target = tvm.target.Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a76"})
    cpu = cpu_of(target)
    for workload in CUT.values():
        half = replace(workload, precision="float16")
        compiled = tvm.tirx.build(module_of([case_of(half, default_tile(half, cpu), cpu)], cpu), target=target)
        assembly = compiled.inspect_source("asm")
        assert re.search(r"fmla\s+v\d+\.8h", assembly)
        assert not re.search(r"fmla\s+v\d+\.4s|fcvt", assembly)

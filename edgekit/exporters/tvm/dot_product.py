"""Instructions that multiply bytes and add up the products in int32, as TVM's tensor intrinsics.

TVM has them too, among 124 others whose import takes half a minute of a processor's time: TVMScript looks up every frame of the
stack for each function that it reads.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

Instruction = Literal["vpdpbusd", "sdot", "smlal"]

_PREFIX = "edgekit"


@cache
def intrinsic(instruction: Instruction) -> str:
    """The name under which a schedule finds it.

    C[k] += sum of A[b] * B[k, b] over four bytes b: `vpdpbusd` (AVX-512 VNNI) of uint8 and int8 for 16 k, `sdot` (Armv8.2) of
    int8 for 4. Where there is neither, `smlal` (every Armv8) takes two groups g of four bytes, C[k] += sum of A[g, b] * B[g, k, b]
    for 4 k: it adds the products of the two groups in 16 bits, which hold them because no weight is -128.
    """
    from tvm.s_tir import TensorIntrin

    match instruction:
        case "vpdpbusd":
            describe, implement = _four_bytes("llvm.x86.avx512.vpdpbusd.512", 16, "uint8")
        case "sdot":
            describe, implement = _four_bytes("llvm.aarch64.neon.sdot.v4i32.v16i8", 4, "int8")
        case "smlal":
            describe, implement = _smlal()
    name = f"{_PREFIX}.{instruction}"
    TensorIntrin.register(name, describe, implement)
    return name


def _four_bytes(llvm: str, lanes: int, activations: str) -> tuple[Any, Any]:
    """Of an LLVM intrinsic (sums, activations, weights) -> sums, the four activations repeated for every lane."""
    from tvm.script import tirx as T  # noqa: N812
    from tvm.target.codegen import llvm_lookup_intrinsic_id

    number, sums = llvm_lookup_intrinsic_id(llvm), f"int32x{lanes}"
    four, all_given, all_weights = f"{activations}x4", f"{activations}x{4 * lanes}", f"int8x{4 * lanes}"

    @T.prim_func(s_tir=True)
    def describe(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (4,), dtype=activations, offset_factor=1)
        B = T.match_buffer(b, (lanes, 4), dtype="int8", offset_factor=1)
        C = T.match_buffer(c, (lanes,), dtype="int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:4], B[0:lanes, 0:4])
            T.writes(C[0:lanes])
            for lane, byte in T.grid(lanes, 4):
                with T.sblock("add"):
                    k, each = T.axis.remap("SR", [lane, byte])
                    C[k] = C[k] + T.cast(A[each], "int32") * T.cast(B[k, each], "int32")

    @T.prim_func(s_tir=True)
    def implement(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (4,), dtype=activations, offset_factor=1)
        B = T.match_buffer(b, (lanes, 4), dtype="int8", offset_factor=1)
        C = T.match_buffer(c, (lanes,), dtype="int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:4], B[0:lanes, 0:4])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = T.call_llvm_pure_intrin(
                number,
                C.vload([0], dtype=sums),
                T.reinterpret(T.broadcast(T.reinterpret(A.vload([0], four), dtype="int32"), lanes), dtype=all_given),
                B.vload([0, 0], dtype=all_weights),
                dtype=sums,
            )

    return describe, implement


def _smlal() -> tuple[Any, Any]:
    from tvm.script import tirx as T  # noqa: N812
    from tvm.target.codegen import llvm_lookup_intrinsic_id

    products = llvm_lookup_intrinsic_id("llvm.aarch64.neon.smull.v8i16")
    pairs = llvm_lookup_intrinsic_id("llvm.aarch64.neon.saddlp.v4i32.v8i16")

    @T.prim_func(s_tir=True)
    def describe(
        A: T.Buffer((8,), "int8", offset_factor=1),
        B: T.Buffer((2, 4, 4), "int8", offset_factor=1),
        C: T.Buffer((4,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:4], A[0:8], B[0:2, 0:4, 0:4])
            T.writes(C[0:4])
            for lane, group, byte in T.grid(4, 2, 4):
                with T.sblock("add"):
                    k, g, b = T.axis.remap("SRR", [lane, group, byte])
                    C[k] = C[k] + T.cast(A[g * 4 + b], "int32") * T.cast(B[g, k, b], "int32")

    @T.prim_func(s_tir=True)
    def implement(
        A: T.Buffer((8,), "int8", offset_factor=1),
        B: T.Buffer((2, 4, 4), "int8", offset_factor=1),
        C: T.Buffer((4,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:4], A[0:8], B[0:2, 0:4, 0:4])
            T.writes(C[0:4])
            first = T.reinterpret(T.broadcast(T.reinterpret(A.vload([0], "int8x4"), dtype="int32"), 2), dtype="int8x8")
            second = T.reinterpret(T.broadcast(T.reinterpret(A.vload([4], "int8x4"), dtype="int32"), 2), dtype="int8x8")
            C[T.ramp(T.int32(0), 1, 4)] = C.vload([0], dtype="int32x4") + T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.addp.v4i32"),
                T.call_llvm_pure_intrin(
                    pairs,
                    T.call_llvm_pure_intrin(products, first, B.vload([0, 0, 0], dtype="int8x8"), dtype="int16x8")
                    + T.call_llvm_pure_intrin(products, second, B.vload([1, 0, 0], dtype="int8x8"), dtype="int16x8"),
                    dtype="int32x4",
                ),
                T.call_llvm_pure_intrin(
                    pairs,
                    T.call_llvm_pure_intrin(products, first, B.vload([0, 2, 0], dtype="int8x8"), dtype="int16x8")
                    + T.call_llvm_pure_intrin(products, second, B.vload([1, 2, 0], dtype="int8x8"), dtype="int16x8"),
                    dtype="int32x4",
                ),
                dtype="int32x4",
            )

    return describe, implement

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

    describe, implement = {"vpdpbusd": _vpdpbusd, "sdot": _sdot, "smlal": _smlal}[instruction]()
    name = f"{_PREFIX}.{instruction}"
    TensorIntrin.register(name, describe, implement)
    return name


def _vpdpbusd() -> tuple[Any, Any]:
    from tvm.script import tirx as T  # noqa: N812

    @T.prim_func(s_tir=True)
    def describe(
        A: T.Buffer((4,), "uint8", offset_factor=1),
        B: T.Buffer((16, 4), "int8", offset_factor=1),
        C: T.Buffer((16,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:16], A[0:4], B[0:16, 0:4])
            T.writes(C[0:16])
            for lane, byte in T.grid(16, 4):
                with T.sblock("add"):
                    k, b = T.axis.remap("SR", [lane, byte])
                    C[k] = C[k] + T.cast(A[b], "int32") * T.cast(B[k, b], "int32")

    @T.prim_func(s_tir=True)
    def implement(
        A: T.Buffer((4,), "uint8", offset_factor=1),
        B: T.Buffer((16, 4), "int8", offset_factor=1),
        C: T.Buffer((16,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:16], A[0:4], B[0:16, 0:4])
            T.writes(C[0:16])
            C[T.ramp(T.int32(0), 1, 16)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id("llvm.x86.avx512.vpdpbusd.512"),
                C.vload([0], dtype="int32x16"),
                T.reinterpret(T.broadcast(T.reinterpret(A.vload([0], "uint8x4"), dtype="int32"), 16), dtype="uint8x64"),
                B.vload([0, 0], dtype="int8x64"),
                dtype="int32x16",
            )

    return describe, implement


def _sdot() -> tuple[Any, Any]:
    from tvm.script import tirx as T  # noqa: N812

    @T.prim_func(s_tir=True)
    def describe(
        A: T.Buffer((4,), "int8", offset_factor=1),
        B: T.Buffer((4, 4), "int8", offset_factor=1),
        C: T.Buffer((4,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:4], A[0:4], B[0:4, 0:4])
            T.writes(C[0:4])
            for lane, byte in T.grid(4, 4):
                with T.sblock("add"):
                    k, b = T.axis.remap("SR", [lane, byte])
                    C[k] = C[k] + T.cast(A[b], "int32") * T.cast(B[k, b], "int32")

    @T.prim_func(s_tir=True)
    def implement(
        A: T.Buffer((4,), "int8", offset_factor=1),
        B: T.Buffer((4, 4), "int8", offset_factor=1),
        C: T.Buffer((4,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:4], A[0:4], B[0:4, 0:4])
            T.writes(C[0:4])
            C[T.ramp(T.int32(0), 1, 4)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.sdot.v4i32.v16i8"),
                C.vload([0], dtype="int32x4"),
                T.reinterpret(T.broadcast(T.reinterpret(A.vload([0], "int8x4"), dtype="int32"), 4), dtype="int8x16"),
                B.vload([0, 0], dtype="int8x16"),
                dtype="int32x4",
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

"""What kernels are made for: the vectors of a CPU, and its instructions for products of bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.devices.device import Device
from edgekit.exporters.tvm.dot_product import Instruction

_FLOAT_BITS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class DotProduct:
    """An instruction that adds, in each of `lanes` int32, four products of an activation and an int8 weight; `activations` is the
    type of integer that it takes."""

    instruction: Instruction
    lanes: int
    activations: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """`lanes` are the float32 numbers in one of `registers` vector registers."""

    lanes: int
    registers: int
    dot_product: DotProduct | None

    @property
    def activations(self) -> str:
        """The type of quantised activations. Without a dot product both do; of int8 a product fits 16 bits on every CPU."""
        return "int8" if self.dot_product is None else self.dot_product.activations


def tvm_target(device: Device) -> Any:
    """The `tvm.target.Target` of a device. This machine's own CPU is whatever LLVM finds it to be."""
    from tvm.target import Target, codegen

    if not device.mcpu:
        return Target({"kind": "llvm", "mtriple": device.triple, "mcpu": codegen.llvm_get_system_cpu()})
    return Target({"kind": "llvm", "mtriple": device.triple, "mcpu": device.mcpu})


def host_target() -> Any:
    """This machine, whatever the device."""
    from tvm.target import Target, codegen

    return Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu()})


def cpu_of(target: Any) -> Cpu:
    """The facts that LLVM has of a `tvm.target.Target`."""
    from tvm.target import codegen

    def has(feature: str) -> bool:
        return bool(codegen.target_has_features(feature, target))

    lanes = max(int(codegen.llvm_get_vector_width(target)) // _FLOAT_BITS, 4)
    if has("avx512vnni"):
        # It multiplies unsigned activations with signed weights.
        return Cpu(lanes=16, registers=32, dot_product=DotProduct(instruction="vpdpbusd", lanes=16, activations="uint8"))
    if has("dotprod"):
        sdot = DotProduct(instruction="sdot", lanes=4, activations="int8")
        return Cpu(lanes=4, registers=32, dot_product=sdot)
    registers = 32 if has("neon") or has("avx512f") else 16
    return Cpu(lanes=lanes, registers=registers, dot_product=None)

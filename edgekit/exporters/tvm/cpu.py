"""What kernels are made for: the vectors of a CPU, and its instructions for products of bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.devices.device import Device
from edgekit.exporters.tvm.dot_product import Instruction

# float32 numbers in a vector register, and such registers, by LLVM's name of the feature that brings them. What TVM itself says of
# vectors is that of the widest x86 for every x86.
_VECTORS = {"avx512f": (16, 32), "avx": (8, 16), "neon": (4, 32)}
_LEAST_VECTORS = (4, 16)
_THIS_MACHINE = "native"


@dataclass(frozen=True, kw_only=True, slots=True)
class DotProduct:
    """What multiplies `depth` activations with as many int8 weights for each of `channels` outputs, and adds up in int32.

    `activations` is the type of integer that it takes.
    """

    instruction: Instruction
    channels: int
    depth: int
    activations: str


_DOT_PRODUCTS = {
    # LLVM's name of a feature that has it.
    "avx512vnni": DotProduct(instruction="vpdpbusd", channels=16, depth=4, activations="uint8"),
    "dotprod": DotProduct(instruction="sdot", channels=4, depth=4, activations="int8"),
    "neon": DotProduct(instruction="smlal", channels=4, depth=8, activations="int8"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """`lanes` are the float32 numbers in one of `registers` vector registers."""

    lanes: int
    registers: int
    dot_product: DotProduct | None

    @property
    def activations(self) -> str:
        """The type of quantised activations."""
        return "int8" if self.dot_product is None else self.dot_product.activations


def tvm_target(device: Device) -> Any:
    """The `tvm.target.Target` of a device."""
    from tvm.target import Target

    if device.mcpu == _THIS_MACHINE:
        return host_target()
    return Target({"kind": "llvm", "mtriple": device.triple, "mcpu": device.mcpu})


def host_target() -> Any:
    """This machine, as LLVM finds it to be."""
    from tvm.target import Target, codegen

    return Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu()})


def cpu_of(target: Any) -> Cpu:
    """The facts that LLVM has of a `tvm.target.Target`."""
    from tvm.target import codegen

    def has(feature: str) -> bool:
        return bool(codegen.target_has_features(feature, target))

    lanes, registers = next((sizes for feature, sizes in _VECTORS.items() if has(feature)), _LEAST_VECTORS)
    dot_product = next((dot for feature, dot in _DOT_PRODUCTS.items() if has(feature)), None)
    return Cpu(lanes=lanes, registers=registers, dot_product=dot_product)

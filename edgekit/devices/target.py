"""What a model is built for: device, runtime, precision and threads, written as `rpi4`, `rpi4:fp32` or `rpi4:tflite-int8`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import UsageError
from edgekit.core.names import did_you_mean
from edgekit.devices.device import Device, Runtime, load_device
from edgekit.devices.precision import Precision
from edgekit.devices.runtimes import has_half_arithmetic

__all__ = ["Precision", "Target", "TargetName", "parse_target", "split_target"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    device: Device
    runtime: str
    precision: Precision
    threads: int

    def __str__(self) -> str:
        return f"{self.device.name}:{self.runtime}-{self.precision}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetName:
    """The parts of a target's name as they were written; None for one that was left out."""

    device: str
    runtime: str | None
    precision: str | None

    def __str__(self) -> str:
        rest = "-".join(part for part in (self.runtime, self.precision) if part is not None)
        return f"{self.device}:{rest}" if rest else self.device


def split_target(text: str) -> TargetName:
    """`DEVICE`, `DEVICE:RUNTIME`, `DEVICE:PRECISION` or `DEVICE:RUNTIME-PRECISION`; no runtime is called as a precision."""
    device, has_rest, rest = text.partition(":")
    first, has_second, second = rest.strip().lower().partition("-")
    if not has_rest:
        return TargetName(device=device, runtime=None, precision=None)
    if not has_second and first in set(Precision):
        return TargetName(device=device, runtime=None, precision=first)
    return TargetName(device=device, runtime=first, precision=second if has_second else None)


def parse_target(text: str, *, folder: Path | None = None) -> Target:
    """As `split_target` reads it; what is left out is the device's default. Raises UsageError.

    For targets with the device's default threads, `parse_target(str(target)) == target`.
    """
    name = split_target(text)
    device = load_device(name.device, folder=folder)
    runtime = device.runtime(device.default_runtime if name.runtime is None else name.runtime)
    try:
        precision = device.default_precision if name.precision is None else Precision(name.precision)
    except ValueError as error:
        raise UsageError(
            f'"{name.precision}" in "{text}" is not a precision',
            hint=did_you_mean(name.precision or "", runtime.precisions),
        ) from error
    if precision not in runtime.precisions:
        raise UsageError(
            f"{runtime.name} on {device.name} has no {precision}", hint=_instead(device, runtime, precision)
        )
    return Target(device=device, runtime=runtime.name, precision=precision, threads=device.default_threads)


def _instead(device: Device, runtime: Runtime, precision: Precision) -> str:
    """What the runtime has, and who has what was asked for."""
    hint = f"ask for {' or '.join(runtime.precisions)}"
    if precision is Precision.FP16 and not has_half_arithmetic(device.isa_features):
        return f"{hint}: {device.cpu} has no arithmetic in half precision"
    others = [f"{device.name}:{one.name}-{precision}" for one in device.runtimes if precision in one.precisions]
    return ", or for ".join([hint, *others])

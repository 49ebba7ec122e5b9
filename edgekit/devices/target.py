"""What a model is built for: device, runtime, precision and threads, written as `rpi4` or `rpi4:tflite-int8`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import UsageError
from edgekit.core.names import did_you_mean
from edgekit.devices.device import Device, load_device
from edgekit.devices.precision import Precision

__all__ = ["Precision", "Target", "parse_target"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    device: Device
    runtime: str
    precision: Precision
    threads: int

    def __str__(self) -> str:
        return f"{self.device.name}:{self.runtime}-{self.precision}"


def parse_target(text: str, *, folder: Path | None = None) -> Target:
    """`DEVICE[:RUNTIME[-PRECISION]]`; what is left out is the device's default. Raises UsageError.

    For targets with the device's default threads, `parse_target(str(target)) == target`.
    """
    device_name, has_runtime, rest = text.partition(":")
    device = load_device(device_name, folder=folder)
    runtime_name, has_precision, precision_name = rest.strip().lower().partition("-")
    runtime = device.runtime(runtime_name if has_runtime else device.default_runtime)
    try:
        precision = Precision(precision_name) if has_precision else device.default_precision
    except ValueError as error:
        raise UsageError(
            f'"{precision_name}" in "{text}" is not a precision', hint=did_you_mean(precision_name, runtime.precisions)
        ) from error
    if precision not in runtime.precisions:
        raise UsageError(
            f"{runtime.name} on {device.name} has no {precision}", hint=did_you_mean(precision, runtime.precisions)
        )
    return Target(device=device, runtime=runtime.name, precision=precision, threads=device.default_threads)

"""Where the predicted latencies of a device come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edgekit.core.errors import UsageError
from edgekit.devices.cost_model import beside_of, relative_of, stand_in
from edgekit.devices.device import Device
from edgekit.devices.relatives import Relative
from edgekit.devices.runtimes import REFERENCE
from edgekit.devices.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Of one runtime and precision: figures of the device's own, or those of `relative`, or none at all; `reason` says why."""

    name: str
    relative: Relative | None
    reason: str
    word: str
    """`own`, the name of the relative, that of the runtime which stands in, or `none`."""

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"name": self.name, "from": self.word, "reason": self.reason}
        if self.relative is not None:
            record |= {"times": self.relative.times, "spread": self.relative.spread}
        return record


def origins_of(device: Device) -> tuple[Origin, ...]:
    """Of every runtime and precision that models can be built for."""
    return tuple(
        _origin(Target(device=device, runtime=runtime.name, precision=precision, threads=runtime.threads))
        for runtime in device.runtimes
        for precision in runtime.precisions
    )


def _origin(target: Target) -> Origin:
    name = f"{target.runtime}-{target.precision}"
    beside = beside_of(target)
    if beside is not None:
        of_tflite = _origin(stand_in(target))
        factors = f"{beside.fastest:g} to {beside.slowest:g} times"
        return replace(
            of_tflite,
            name=name,
            reason=f"no figures: as {of_tflite.name} ({of_tflite.reason}), {factors}: {beside.reason}",
            word=of_tflite.word if of_tflite.word == "none" else REFERENCE,
        )
    try:
        relative = relative_of(target)
    except UsageError as error:
        return Origin(name=name, relative=None, reason=str(error), word="none")
    if relative is None:
        return Origin(name=name, relative=None, reason="figures of its own", word="own")
    reason = f"no figures: as {relative.device.name} x {relative.times:.2f} ({relative.reason})"
    return Origin(name=name, relative=relative, reason=reason, word=relative.device.name)

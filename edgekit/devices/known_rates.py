"""The rates of the devices that ship with edgekit and have figures: what a new board may resemble."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.core.data_folders import data_folder
from edgekit.devices.cost_model import Rates, load_cost_model
from edgekit.devices.device import list_devices
from edgekit.devices.precision import Precision
from edgekit.devices.target import Target

_RUNTIME = "tflite"


def known_rates() -> Mapping[str, Mapping[Precision, Rates]]:
    """By device and precision, those of TFLite."""
    found = {}
    for device in list_devices(data_folder("devices")):
        for runtime in device.runtimes:
            if runtime.name == _RUNTIME and runtime.has_figures:
                found[device.name] = {
                    precision: load_cost_model(
                        Target(device=device, runtime=runtime.name, precision=precision, threads=runtime.threads)
                    ).rates
                    for precision in runtime.precisions
                }
    return found

"""Devices: one folder each under `devices/`, with facts (TOML, by people) and cost models (JSON, by machines)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.data_folders import data_folder, user_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.devices.precision import Precision

_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """A runtime as it was measured on a device; `calibration` names the table in the device's folder."""

    name: str
    version: str
    precisions: tuple[Precision, ...]
    threads: int
    calibration: str
    source: str
    source_url: str
    licence: str
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Public facts of a board; `ram_bytes` lists the sizes it is sold with, `folder` is where its files lie."""

    name: str
    title: str
    aliases: tuple[str, ...]
    soc: str
    cpu: str
    cores: int
    clock_mhz: int
    l1d_bytes: int
    l2_bytes: int
    ram_bytes: tuple[int, ...]
    isa: str
    isa_features: tuple[str, ...]
    triple: str
    mcpu: str
    default_runtime: str
    default_precision: Precision
    default_threads: int
    runtimes: tuple[Runtime, ...]
    sources: tuple[str, ...]
    folder: Path

    def runtime(self, name: str) -> Runtime:
        """Raises UsageError where this device has no such runtime."""
        for runtime in self.runtimes:
            if runtime.name == name:
                return runtime
        raise UsageError(
            f'no runtime "{name}" on {self.name}', hint=did_you_mean(name, (runtime.name for runtime in self.runtimes))
        )


def list_devices(folder: Path | None = None) -> tuple[Device, ...]:
    """All devices, by name: those in `folder`, or those that ship with edgekit and the user's own. Raises BadInputError."""
    folders = [folder] if folder else [data_folder("devices"), user_folder("devices")]
    paths = [path for each in folders if each.is_dir() for path in each.iterdir()]
    found = sorted(path for path in paths if path.is_dir() and not path.name.startswith("."))
    return tuple(sorted((read_device(path) for path in found), key=lambda device: device.name))


def load_device(name: str, *, folder: Path | None = None) -> Device:
    """The device of this name or alias, in any case. Raises UsageError for an unknown name, or BadInputError."""
    devices = list_devices(folder)
    by_name = {known.lower(): device for device in devices for known in (*device.aliases, device.name)}
    try:
        return by_name[" ".join(name.lower().split())]
    except KeyError as error:
        raise UsageError(f'no device is called "{name}"', hint=did_you_mean(name, by_name)) from error


def read_device(folder: Path, *, name: str | None = None) -> Device:
    """The device that a folder describes, called as the folder, or `name`. Raises BadInputError."""
    path = folder / "device.toml"
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(
            f"cannot read {path}: {error.strerror}", hint="every folder of devices/ holds a device.toml"
        ) from error
    except ValueError as error:
        raise BadInputError(
            f"{path} is not TOML: {error}", hint="see devices/rpi4/device.toml for one that is"
        ) from error
    try:
        device = _parse(record, folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(
            f"{path} does not describe a device: {error}", hint="see devices/rpi4/device.toml for the keys"
        ) from error
    if device.name != (name or folder.name):
        raise BadInputError(f'{path} calls the device "{device.name}"', hint="a device is called as its folder")
    return device


def _parse(record: Mapping[str, Any], folder: Path) -> Device:
    facts = dict(record)
    version = facts.pop("schema_version")
    if version != _SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version}, expected {_SCHEMA_VERSION}")
    runtimes = tuple(
        Runtime(
            name=name, **{**runtime, "precisions": tuple(Precision(precision) for precision in runtime["precisions"])}
        )
        for name, runtime in facts.pop("runtimes").items()
    )
    lists: dict[str, Any] = {key: tuple(facts.pop(key)) for key in ("aliases", "ram_bytes", "isa_features", "sources")}
    precision = Precision(facts.pop("default_precision"))
    device = Device(**facts, **lists, default_precision=precision, runtimes=runtimes, folder=folder)
    if device.default_runtime not in {runtime.name for runtime in runtimes}:
        raise ValueError(f'default_runtime "{device.default_runtime}" is not among its runtimes')
    return device

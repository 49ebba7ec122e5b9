"""Devices: one folder each under `devices/`, with facts (TOML, by people) and cost models (JSON, by machines)."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from edgekit.core.data_folders import data_folder, user_folder
from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.names import did_you_mean
from edgekit.devices.host import host_facts
from edgekit.devices.precision import Precision
from edgekit.devices.runtimes import portable_runtimes

Part = TypeVar("Part")

_SCHEMA_VERSION = 1
_FACTS_OF_HOST = "read"
_OF_FIGURES = ("version", "calibration", "source", "source_url", "licence")


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """A runtime that models can be built for: one that device.toml lists, or one of `edgekit.devices.runtimes`.

    `calibration` names the table in the device's folder that its cost model was fitted to. Without one nothing is known of it
    there, and its nearest relative predicts, or TFLite on this device.
    """

    name: str
    precisions: tuple[Precision, ...]
    threads: int
    version: str = ""
    calibration: str = ""
    source: str = ""
    source_url: str = ""
    licence: str = ""
    note: str = ""

    @property
    def has_figures(self) -> bool:
        return bool(self.calibration)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Latencies that no cost model is fitted to, but that tell how fast the device is beside others.

    `table` is a CSV in the device's folder with the columns network, precision, threads (0 where nobody stated it) and ms;
    devices whose figures have the same name were measured alike. `board` is what was measured, at `clock_mhz`: the device
    itself, or another board with the same cores.
    """

    name: str
    runtime: str
    version: str
    board: str
    clock_mhz: int
    table: str
    date: str
    source: str
    source_url: str
    licence: str
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How the device is measured: `runs` timed runs after at most `warmup_runs_max` of warming up, until latencies are stable, with
    `threads` threads under the CPU frequency governor `governor`."""

    warmup_runs_max: int = 50
    runs: int = 50
    threads: int = 4
    governor: str = "performance"

    def __post_init__(self) -> None:
        if self.warmup_runs_max < 0 or self.runs < 1 or self.threads < 1:
            raise ValueError("protocol needs runs and threads of at least 1, and warmup_runs_max of at least 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Public facts of a board; `ram_bytes` lists the sizes it is sold with, `folder` is where its files lie.

    `clock_mhz` is that of its `big_cores` fastest cores with all of them at work, `tvm_tag` the name that TVM gives the board,
    empty where it has none. Of the machine that edgekit runs on, 0 and an empty text are facts that its system does not tell.
    """

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
    big_cores: int
    protocol: Protocol
    figures: tuple[Figures, ...] = ()
    tvm_tag: str = ""

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
    """The device of this name or alias, in any case. Raises UsageError for an unknown name, or BadInputError.

    A name goes before an alias, and the user's own device before one that ships: a device that is added later takes neither away.
    """
    devices = list_devices(folder)
    by_name = {alias.lower(): device for device in devices for alias in device.aliases}
    by_name |= {device.name.lower(): device for device in devices}
    try:
        return by_name[" ".join(name.lower().split())]
    except KeyError as error:
        raise UsageError(f'no device is called "{name}"', hint=did_you_mean(name, by_name)) from error


def read_device(folder: Path, *, name: str | None = None) -> Device:
    """The device that a folder describes, called as the folder, or `name`. Raises BadInputError."""
    path = folder / "device.toml"
    record = read_record(folder)
    try:
        device = _parse(record, folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"the file lacks {error.args[0]}" if isinstance(error, KeyError) else error
        raise BadInputError(
            f"{path} does not describe a device: {reason}", hint="see devices/rpi4/device.toml for the keys"
        ) from error
    if device.name != (name or folder.name):
        raise BadInputError(
            f'{path} calls the device "{device.name}"', hint="the name must be that of the device's folder"
        )
    return device


def read_record(folder: Path) -> dict[str, Any]:
    """What the folder's device.toml says, with this machine's facts where it asks for them. Raises BadInputError."""
    path = folder / "device.toml"
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(
            f"cannot read {path}: {error.strerror}", hint="every folder of devices/ must hold a device.toml"
        ) from error
    except ValueError as error:
        raise BadInputError(
            f"{path} is not TOML: {error}", hint="see devices/rpi4/device.toml for an example"
        ) from error
    facts = record.pop("facts", None)
    if facts not in {None, _FACTS_OF_HOST}:
        raise BadInputError(
            f'{path} says facts = "{facts}"',
            hint=f'remove it, or write "{_FACTS_OF_HOST}" for the machine that edgekit runs on',
        )
    return {**host_facts(), **record} if facts else record


def _parse(record: Mapping[str, Any], folder: Path) -> Device:
    facts = dict(record)
    version = facts.pop("schema_version")
    if version != _SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version}, expected {_SCHEMA_VERSION}")
    listed = facts.pop("runtimes")
    of_system = {
        name: {"precisions": precisions, "threads": facts["default_threads"]}
        for name, precisions in portable_runtimes(facts["triple"], facts["isa_features"]).items()
        if name not in listed
    }
    runtimes = tuple(_runtime(name, runtime) for name, runtime in {**listed, **of_system}.items())
    figures = tuple(
        _checked(Figures, {**of_name, "name": name}, f"[figures.{name}]")
        for name, of_name in facts.pop("figures", {}).items()
    )
    protocol = _checked(Protocol, {"threads": facts["default_threads"], **facts.pop("protocol", {})}, "[protocol]")
    lists: dict[str, Any] = {key: tuple(facts.pop(key)) for key in ("aliases", "ram_bytes", "isa_features", "sources")}
    precision = Precision(facts.pop("default_precision"))
    read = {"big_cores": facts["cores"], **facts, **lists, "default_precision": precision, "runtimes": runtimes}
    device = _checked(Device, {**read, "figures": figures, "protocol": protocol, "folder": folder}, "the file")
    if device.default_runtime not in {runtime.name for runtime in runtimes}:
        raise ValueError(f'default_runtime "{device.default_runtime}" is not among its runtimes')
    return device


def _runtime(name: str, record: Mapping[str, Any]) -> Runtime:
    facts = {**record, "name": name, "precisions": tuple(Precision(precision) for precision in record["precisions"])}
    if any(key in record for key in _OF_FIGURES) and (missing := [key for key in _OF_FIGURES if key not in record]):
        raise ValueError(f"[runtimes.{name}] lacks {missing[0]}: figures need all of {', '.join(_OF_FIGURES)}")
    return _checked(Runtime, facts, f"[runtimes.{name}]")


def _checked(part: Callable[..., Part], facts: Mapping[str, Any], where: str) -> Part:
    """The part made of its facts. Raises ValueError for a key that it lacks or does not have."""
    known = signature(part).parameters
    for key in facts:
        if key not in known:
            raise ValueError(f'{where} has an unknown key "{key}"; {did_you_mean(key, known)}')
    for key, parameter in known.items():
        if key not in facts and parameter.default is parameter.empty:
            raise ValueError(f"{where} lacks {key}")
    return part(**facts)

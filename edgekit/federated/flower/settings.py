"""What the process of a server and that of its SuperLink tell each other, as files in their folder: never on a command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.core.records import read_json
from edgekit.federated.private_files import write_private

SETTINGS, PORTS, SECRET = "superlink.json", "ports.json", "runtime.secret"
_SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the SuperLink is told. Port 0: one that the machine chooses."""

    keys: str
    host: str
    port: int

    def write(self, state: Path) -> None:
        write_private(state / SETTINGS, json.dumps({"schema_version": _SCHEMA, **asdict(self)}).encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """What it tells, once it listens: where the fleet calls, and where, on this machine, the server's own program."""

    fleet: int
    runtime: int

    def write(self, state: Path) -> None:
        write_private(state / PORTS, json.dumps({"schema_version": _SCHEMA, **asdict(self)}).encode())


def read_settings(state: Path) -> Settings:
    return Settings(**_fields(read_json(state / SETTINGS, schema_version=_SCHEMA)))


def read_ports(state: Path) -> Ports:
    return Ports(**_fields(read_json(state / PORTS, schema_version=_SCHEMA)))


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "schema_version"}

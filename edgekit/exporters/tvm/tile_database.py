"""Tiles found by tuning, a file a device: what was tried, what the best took, and how that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgekit.core.data_folders import user_folder
from edgekit.core.errors import BadInputError
from edgekit.core.quantity import Evidence
from edgekit.core.records import read_json, write_json
from edgekit.devices.device import Device
from edgekit.exporters.tvm.cpu import Cpu
from edgekit.exporters.tvm.tile import Tile, Workload, default_tile

SCHEMA_VERSION: Final = 1
FILE: Final = "tvm_tiles.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """The best tile of a workload among `tried`.

    `cost` is its microseconds where it was measured, its executed instructions where it was emulated; `default_cost` that of the
    default tile. `source` says on which board, with how many threads.
    """

    tile: Tile
    cost: float
    default_cost: float
    tried: int
    evidence: Evidence
    source: str

    def to_json(self) -> dict[str, Any]:
        return {
            "tile": self.tile.to_json(),
            "cost": self.cost,
            "default_cost": self.default_cost,
            "tried": self.tried,
            "evidence": self.evidence.value,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Tuned:
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
        return cls(
            tile=Tile.from_json(record["tile"]),
            cost=float(record["cost"]),
            default_cost=float(record["default_cost"]),
            tried=int(record["tried"]),
            evidence=Evidence(record["evidence"]),
            source=str(record["source"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TileDatabase:
    """By the keys of workloads; a workload that was never tuned takes the default tile."""

    tuned: Mapping[str, Tuned] = field(default_factory=dict)

    def tile(self, workload: Workload, cpu: Cpu) -> Tile:
        found = self.tuned.get(workload.key)
        return default_tile(workload, cpu) if found is None else found.tile

    def with_tuned(self, workload: Workload, tuned: Tuned) -> TileDatabase:
        return TileDatabase(tuned={**self.tuned, workload.key: tuned})

    def write(self, path: Path) -> None:
        entries = {key: each.to_json() for key, each in sorted(self.tuned.items())}
        write_json(path, {"schema_version": SCHEMA_VERSION, "tiles": entries})

    @classmethod
    def read(cls, path: Path) -> TileDatabase:
        """Empty where there is no such file. Raises BadInputError for one that is damaged."""
        if not path.is_file():
            return cls()
        record = read_json(path, schema_version=SCHEMA_VERSION)
        try:
            return cls(tuned={str(key): Tuned.from_json(each) for key, each in record["tiles"].items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInputError(
                f"{path} is not a database of tiles: {error}", hint="delete it and tune the device again"
            ) from error

    @classmethod
    def of(cls, device: Device) -> TileDatabase:
        """What ships with the device, and before that what the user's own tuning found. Raises BadInputError."""
        shipped, own = (cls.read(path) for path in (device.folder / FILE, user_database(device)))
        return cls(tuned={**shipped.tuned, **own.tuned})


def user_database(device: Device) -> Path:
    """Where tuning writes."""
    return user_folder("tiles") / f"{device.name}.json"

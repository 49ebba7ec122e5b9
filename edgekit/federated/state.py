"""Where a course stands after a full round: one file, written whole, from which it goes on after a break."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from edgekit.core.errors import BadInputError, UsageError
from edgekit.core.records import write_bytes
from edgekit.federated.layout import Layout

SCHEMA = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """What happened in a round. `left_out` gives a reason by client: declined, refused, or no answer; `accuracy` is that of
    the server's own pictures where it has some. `macs` are those of the kernels that clients run, `kept_macs` those of kept
    weights among them; `peak_bytes` is the largest of the clients', beside both those of dense averaging: all predicted. In
    a private round clients do not say what it cost them, and with noise not the loss either."""

    number: int
    stage: str
    seconds: float
    clients: tuple[str, ...]
    left_out: Mapping[str, str]
    loss: float | None
    accuracy: float | None
    down_bytes: int
    up_bytes: int
    macs: int | None
    kept_macs: int | None
    dense_macs: int | None
    peak_bytes: int | None
    dense_peak_bytes: int
    exchanged: int
    densities: Mapping[str, float]


@dataclass(kw_only=True, slots=True)
class State:
    """`rounds` are done; `vector_V` is laid out by `masks`; `releases` of noised vectors by each client, by name."""

    masks: dict[str, Tensor]
    vector_V: NDArray[np.float32]
    rounds: int = 0
    records: list[RoundRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    releases: dict[str, int] = field(default_factory=dict)

    def write(self, path: Path, course: str, layout: Layout) -> None:
        facts = {
            "schema_version": SCHEMA,
            "course": course,
            "rounds": self.rounds,
            "records": [asdict(one) for one in self.records],
            "notes": self.notes,
            "releases": self.releases,
        }
        arrays = {"vector": self.vector_V, "mask": np.frombuffer(layout.pack([self.masks]), np.uint8)}
        write_bytes(path, save(arrays, {"federated": json.dumps(facts)}))

    @classmethod
    def read(cls, path: Path, course: str, layout: Layout) -> State | None:
        """None where there is no file. Raises UsageError for a file of another course, BadInputError for a damaged one."""
        if not path.is_file():
            return None
        try:
            with safe_open(path, "np") as file:
                facts: dict[str, Any] = json.loads((file.metadata() or {}).get("federated", "{}"))
                vector_V, mask = file.get_tensor("vector"), file.get_tensor("mask").tobytes()
        except (SafetensorError, ValueError) as error:
            raise BadInputError(f"{path} is damaged: {error}", hint="remove it to start again") from error
        if facts.get("course") != course or facts.get("schema_version") != SCHEMA:
            raise UsageError(
                f"{path} belongs to another course, with other settings, another network or another version",
                hint="choose another folder with -o, or remove it to start again",
            )
        records = [RoundRecord(**{**one, "clients": tuple(one["clients"])}) for one in facts["records"]]
        return cls(
            masks=layout.unpack(mask, 1)[0],
            vector_V=vector_V,
            rounds=facts["rounds"],
            records=records,
            notes=list(facts["notes"]),
            releases=dict(facts["releases"]),
        )

"""What a build is made of, as one number: two builds with the same key make the same file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import edgekit
from edgekit.core.data_folders import data_folder, user_folder
from edgekit.core.errors import MissingExtraError
from edgekit.core.images import list_images
from edgekit.core.records import sha256_of
from edgekit.devices.target import Target
from edgekit.pipeline.build_folder import environment
from edgekit.pipeline.examples import Examples
from edgekit.pipeline.plan import TUNABLE, BuildPlan

_READ: Final = frozenset({"model", "task", "target", "candidates", "budget", "genotype", "data", "evaluation", "seed"})
"""Fields of a plan that a key takes by content."""


def is_repeatable(planned: BuildPlan) -> bool:
    """Whether its key says all of it. A board is measured, and kernels are tuned on it, anew each time."""
    return not any(_others(planned).values())


def _others(planned: BuildPlan) -> dict[str, Any]:
    return {one.name: getattr(planned, one.name) for one in fields(planned) if one.name not in _READ}


class BuildKeys:
    """Keys of builds by the content of all that goes into them, whatever it is called on this machine.

    That is the plan, the supernet's files, pictures, all devices (one predicts another), the versions of the libraries, and
    edgekit's own source. What many builds share is read once: make a new object to see files that have changed since.
    """

    def __init__(self) -> None:
        self._sums: dict[Path, str] = {}
        self.surroundings: Mapping[str, Any] = {
            "environment": environment(),
            "source": self._sum_of(Path(edgekit.__file__).parent, "*.py"),
            "devices": self._sum_of(data_folder("devices")),
        }
        """What every build on this machine shares, whoever asks for it."""

    def key_of(self, planned: BuildPlan) -> str:
        """Raises BadInputError where `planned.data` cannot be read."""
        inputs = {
            **self.surroundings,
            "own_devices": self._sum_of(user_folder("devices")),
            "model": [planned.model.name, self._sum_of(planned.model.path)],
            "task": self._task(planned),
            "targets": [self._target(target) for target in planned.candidates or (planned.target,)],
            "threads": planned.target.threads,
            "budget": asdict(planned.budget),  # a share's text is rounded
            "genotype": None if planned.genotype is None else str(planned.genotype),
            "data": None if planned.data is None else self._pictures(planned.data),
            # With its folder, which the source of the accuracy names.
            "evaluation": None if planned.evaluation is None else planned.evaluation.to_json(),
            "seed": planned.seed,
            "others": {name: str(value) for name, value in _others(planned).items()},
        }
        return sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def _task(self, planned: BuildPlan) -> dict[str, Any]:
        """The name of the examples' folder stands in the file; where it lies does not."""
        record: dict[str, Any] = planned.to_json()["task"]
        if isinstance(planned.task, Examples):
            return {name: value for name, value in record.items() if name != "examples"}
        return {**record, **asdict(planned.task)}

    def _target(self, target: Target) -> list[Any]:
        facts = {name: value for name, value in asdict(target.device).items() if name != "folder"}
        return [str(target), facts, self._compiler(target) if target.runtime == TUNABLE else None]

    def _compiler(self, target: Target) -> list[str]:
        """What a compiled file takes from the machine: its linker, and the tiles that tuning found."""
        from edgekit.exporters.tvm.tile_database import user_database
        from edgekit.exporters.tvm.toolchain import linker_for

        tiles = user_database(target.device)
        try:
            linker = linker_for(target.device.triple)
        except MissingExtraError:
            return ["absent"]
        told = subprocess.run([linker, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        return [told.stdout, sha256_of(tiles) if tiles.is_file() else "none"]

    def _pictures(self, folder: Path) -> str:
        """In the order in which some are drawn; their names do not matter."""
        if folder not in self._sums:
            self._sums[folder] = _sum(map(sha256_of, list_images(folder)))
        return self._sums[folder]

    def _sum_of(self, folder: Path, pattern: str = "*") -> str:
        """Of the files below `folder` and their names in it; what begins with a dot is left out."""
        if folder not in self._sums:
            names = sorted(path.relative_to(folder) for path in folder.rglob(pattern))
            seen = (name for name in names if not any(part.startswith(".") for part in name.parts))
            self._sums[folder] = _sum(
                f"{name}\0{sha256_of(folder / name)}" for name in seen if (folder / name).is_file()
            )
        return self._sums[folder]


def _sum(parts: Iterable[str]) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()

"""Everything a training needs to go on as if it had never stopped, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from edgekit.core.errors import BadInputError
from edgekit.core.records import write_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """What changes from step to step: weights, and the generators that draw images and tasks."""

    modules: Mapping[str, nn.Module]
    optimizers: Sequence[torch.optim.Optimizer]
    images: torch.Generator
    tasks: np.random.Generator


def save_checkpoint(path: Path, state: TrainingState, *, step: int, seconds: float) -> None:
    """After `step` steps, which took `seconds` in all. Raises BadInputError where nothing can be written."""
    tensors = {
        f"{name}.{key}": value for name, module in state.modules.items() for key, value in module.state_dict().items()
    }
    for number, optimizer in enumerate(state.optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{key}": torch.as_tensor(value) for key, value in entries.items()}
    tensors["images"] = state.images.get_state()
    metadata = {"step": str(step), "seconds": str(seconds), "tasks": json.dumps(state.tasks.bit_generator.state)}
    write_bytes(path, save({key: value.contiguous() for key, value in tensors.items()}, metadata=metadata))


def load_checkpoint(path: Path, state: TrainingState) -> tuple[int, float]:
    """Restores in place and returns the step to go on from and the seconds spent so far.

    Raises BadInputError for a file that does not fit.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for name, module in state.modules.items():
            module.load_state_dict(_under(tensors, name))
        for number, optimizer in enumerate(state.optimizers):
            _load_moments(optimizer, _under(tensors, f"optimizer.{number}"))
        state.images.set_state(tensors["images"])
        state.tasks.bit_generator.state = json.loads(metadata["tasks"])
        return int(metadata["step"]), float(metadata["seconds"])
    except (OSError, SafetensorError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{path} is not a checkpoint of this recipe: {str(error).splitlines()[0]}",
            hint="remove it to train from the start",
        ) from error


def _load_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, entry = key.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # In the parameter's own memory layout: the update is several times slower across layouts.
            value = torch.empty_like(parameter.detach()).copy_(value)
        moments.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}

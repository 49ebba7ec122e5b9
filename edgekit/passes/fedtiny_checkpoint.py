"""From which a FedTiny course goes on after a break: one file of tensors, written whole, used by the same course alone."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from edgekit.core.records import write_bytes
from edgekit.passes.contract import Context
from edgekit.passes.fedtiny import FedTiny

_SHARE_OF_TIME = 0.05


@dataclass(kw_only=True, slots=True)
class State:
    """Between rounds; weights and running statistics are in the module."""

    masks: dict[str, Tensor]
    momenta: dict[str, Tensor] = field(default_factory=dict)
    rounds: int = 0
    trials: int = 0
    changed: int = 0


@dataclass(kw_only=True, slots=True)
class Checkpoint:
    """`course` is the SHA-256 of options, seed, samples and the network that the course began with."""

    path: Path | None
    course: str
    not_before: float = 0.0

    @classmethod
    def of(cls, options: FedTiny, module: nn.Module, context: Context) -> Checkpoint:
        samples = context.training or context.calibration
        digest = hashlib.sha256(f"{options} {context.seed} {tuple(samples.x_N.shape)}".encode())
        for tensor in (*module.state_dict().values(), samples.x_N[:: max(1, len(samples) // 64)]):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return cls(path=context.folder and context.folder / "fedtiny.safetensors", course=digest.hexdigest())

    def read(self, module: nn.Module) -> State | None:
        """The state, and its weights in the module; None where there is none, or one of another course."""
        if self.path is None or not self.path.is_file():
            return None
        device = str(next(module.parameters()).device)
        try:
            with safe_open(self.path, "pt", device) as file:
                facts = json.loads((file.metadata() or {}).get("fedtiny", "{}"))
                if facts.get("course") != self.course:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, ValueError):
            return None
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "masks": {}, "momenta": {}}
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor
        module.load_state_dict(groups["weights"])
        order = dict.fromkeys(facts["order"])
        return State(
            masks={name: groups["masks"][name] for name in order},
            momenta=groups["momenta"],
            rounds=facts["rounds"],
            trials=facts["trials"],
            changed=facts["changed"],
        )

    def write(self, module: nn.Module, state: State) -> None:
        """Unless the last one took more than a small share of the time since."""
        started = time.monotonic()
        if self.path is None or started < self.not_before:
            return
        tensors = {f"weights/{name}": tensor for name, tensor in module.state_dict().items()}
        tensors |= {f"masks/{name}": tensor for name, tensor in state.masks.items()}
        tensors |= {f"momenta/{name}": tensor for name, tensor in state.momenta.items()}
        facts = {
            "course": self.course,
            "rounds": state.rounds,
            "trials": state.trials,
            "changed": state.changed,
            "order": list(state.masks),
        }
        # Copies: safetensors refuses tensors that share memory.
        content = save(
            {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()},
            {"fedtiny": json.dumps(facts)},
        )
        write_bytes(self.path, content)
        took = time.monotonic() - started
        self.not_before = started + took / _SHARE_OF_TIME

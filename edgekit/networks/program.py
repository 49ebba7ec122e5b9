"""A network as a list of ATen operators: what every reader of foreign networks gives, before it becomes layers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgekit.core.graph import TensorSpec

GETITEM: Final = "getitem"
"""The operator that picks one result out of several: its arguments are `self` and `index`."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An argument that is an input, a constant, or the result of an earlier step, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Dtype:
    """An argument that is a type of numbers, by torch's name for it."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One operator, "aten.conv2d.default", with the arguments that are given, by the names of its schema."""

    name: str
    operator: str
    arguments: Mapping[str, Any]

    @property
    def references(self) -> Iterator[str]:
        return references_in(self.arguments)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Steps in execution order, at the batch of the inputs' first dimension.

    `constants` are arrays or tensors by name, as in the state dict where there was one; `parameters` names those that are learnt.
    """

    inputs: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()


def references_in(argument: Any) -> Iterator[str]:
    """The names an argument refers to, at any depth."""
    if isinstance(argument, Reference):
        yield argument.name
    elif isinstance(argument, Mapping):
        for one in argument.values():
            yield from references_in(one)
    elif isinstance(argument, (list, tuple)):
        for one in argument:
            yield from references_in(one)


def write_program(program: Program, folder: Path) -> None:
    """Writes `program.json` and, from numpy arrays, `constants.safetensors`."""
    from safetensors.numpy import save_file

    record = {
        "inputs": [[spec.name, list(spec.shape), spec.dtype] for spec in program.inputs],
        "steps": [[step.name, step.operator, _to_json(step.arguments)] for step in program.steps],
        "outputs": list(program.outputs),
        "parameters": sorted(program.parameters),
    }
    (folder / "program.json").write_text(json.dumps(record))
    save_file(dict(program.constants), str(folder / "constants.safetensors"))


def read_program_files(folder: Path) -> Program:
    """What `write_program` wrote; constants are tensors."""
    from safetensors.torch import load_file

    record = json.loads((folder / "program.json").read_text())
    return Program(
        inputs=tuple(
            TensorSpec(name=name, shape=tuple(shape), dtype=dtype, scale=None, zero_point=None)
            for name, shape, dtype in record["inputs"]
        ),
        steps=tuple(
            Step(name=name, operator=operator, arguments=_from_json(arguments))
            for name, operator, arguments in record["steps"]
        ),
        outputs=tuple(record["outputs"]),
        constants=load_file(str(folder / "constants.safetensors")),
        parameters=frozenset(record["parameters"]),
    )


def _to_json(argument: Any) -> Any:
    match argument:
        case Reference(name=name):
            return {"reference": name}
        case Dtype(name=name):
            return {"dtype": name}
        case Mapping():
            return {"map": {key: _to_json(one) for key, one in argument.items()}}
        case list() | tuple():
            return [_to_json(one) for one in argument]
    return argument


def _from_json(record: Any) -> Any:
    match record:
        case {"reference": name}:
            return Reference(name)
        case {"dtype": name}:
            return Dtype(name)
        case {"map": entries}:
            return {key: _from_json(one) for key, one in entries.items()}
        case list():
            return [_from_json(one) for one in record]
    return record

"""A program without aliases, without what no output needs, and without operators that work in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from edgekit.core.errors import ConversionError
from edgekit.networks import operators
from edgekit.networks.program import GETITEM, Program, Reference, Step, references_in

# Aliases that have their own memory: what is written into them does not show in what they were made from.
_COPIES: Final = frozenset({"clone.default", "_to_copy.default", "lift_fresh_copy.default"})


@dataclass(frozen=True, slots=True)
class _Memory:
    """`storage` is shared by a tensor and its views; tensors of one `view` are the same."""

    storage: str
    view: str


def simplified(program: Program) -> Program:
    """The same function of the inputs.

    Raises ConversionError for an operator that is not in the tables of `operators`, or where what is written in place is read
    through another view afterwards.
    """
    return _without_dead_steps(_Simplifier(program).program())


class _Simplifier:
    def __init__(self, program: Program) -> None:
        self._program = program
        names = [*(spec.name for spec in program.inputs), *program.constants]
        self._current = {name: name for name in names}
        self._memory = {name: _Memory(name, name) for name in names}
        self._dropouts: set[str] = set()
        self._last_read = {name: index for index, step in enumerate(program.steps) for name in step.references}
        self._last_read |= dict.fromkeys(program.outputs, len(program.steps))

    def program(self) -> Program:
        kept = [step for index, given in enumerate(self._program.steps) if (step := self._step(index, given))]
        return replace(
            self._program, steps=tuple(kept), outputs=tuple(self._resolved(name) for name in self._program.outputs)
        )

    def _step(self, index: int, given: Step) -> Step | None:
        """What is left of it."""
        step = replace(given, arguments=self._substituted(given.arguments))
        first = next(given.references, None)
        if step.operator == GETITEM:
            if first in self._dropouts:
                self._alias(step, first)
                return None
            self._memory[step.name] = _Memory(self._memory[str(first)].storage, step.name)
            self._current[step.name] = step.name
            return step
        overload = operators.overload_of(step.operator, step=step.name)
        name = operators.functional(step.operator)
        if operators.is_in_place(step.operator) and first is not None:
            self._overwrite(index, first, step)
        if name in operators.ALIASES:
            if name == "native_dropout.default":
                self._dropouts.add(step.name)
            self._alias(step, first)
            return None
        if operators.is_in_place(step.operator) and first is not None:
            return replace(step, operator=name)
        shares = first is not None and (operators.gives_view(overload) or name in operators.CASTS)
        storage = self._memory[first].storage if first is not None and shares else step.name
        self._memory[step.name] = _Memory(storage, step.name)
        self._current[step.name] = step.name
        return step

    def _alias(self, step: Step, source: str | None) -> None:
        if source is None:
            raise ConversionError(f"{step.operator} (at {step.name}) reads nothing", hint="export the network again")
        copied = step.operator in _COPIES
        self._current[step.name] = self._resolved(source)
        self._memory[step.name] = _Memory(step.name, step.name) if copied else self._memory[source]

    def _overwrite(self, index: int, target: str, step: Step) -> None:
        """From here on, all names of the tensor that `target` names mean the result of the step."""
        memory = self._memory[target]
        for name, other in self._memory.items():
            if other == memory:
                self._current[name] = step.name
            elif other.storage == memory.storage and self._last_read.get(name, -1) > index:
                raise ConversionError(
                    f"{step.operator} (at {step.name}) writes in place a tensor that {name} reads through another view",
                    hint="write this part of the network without in-place operators",
                )
        self._current[step.name] = step.name
        self._memory[step.name] = memory

    def _resolved(self, name: str) -> str:
        if name not in self._current:
            raise ConversionError(f"the program reads {name}, which nothing computes", hint="export the network again")
        return self._current[name]

    def _substituted(self, argument: Any) -> Any:
        match argument:
            case Reference(name=name):
                return Reference(self._resolved(name))
            case Mapping():
                return {key: self._substituted(one) for key, one in argument.items()}
            case list() | tuple():
                return [self._substituted(one) for one in argument]
        return argument


def _without_dead_steps(program: Program) -> Program:
    wanted = set(program.outputs)
    kept = []
    for step in reversed(program.steps):
        if step.name in wanted:
            wanted.update(references_in(step.arguments))
            kept.append(step)
    return replace(
        program,
        steps=tuple(reversed(kept)),
        constants={name: value for name, value in program.constants.items() if name in wanted},
    )

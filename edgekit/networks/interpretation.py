"""A program run operator by operator, as its file states it: what the lifted module is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from edgekit.networks import operators
from edgekit.networks.program import GETITEM, Program, Reference


def interpreted(program: Program, x_N: Tensor) -> Tensor:
    """The output for inputs at the batch that the program was made for.

    Raises ConversionError for an operator that is not in the tables of `operators`.
    """
    values: dict[str, Any] = {name: constant.clone() for name, constant in program.constants.items()}
    values[program.inputs[0].name] = x_N.clone()
    with torch.no_grad():
        for step in program.steps:
            given = {name: _substituted(argument, values) for name, argument in step.arguments.items()}
            if step.operator == GETITEM:
                values[step.name] = given["self"][given["index"]]
            else:
                overload = operators.overload_as_written(step.operator, step=step.name)
                values[step.name] = operators.call(overload, operators.completed(overload, given, step=step.name))
    output: Tensor = values[program.outputs[0]]
    return output


def _substituted(argument: Any, values: Mapping[str, Any]) -> Any:
    match argument:
        case Reference(name=name):
            return values[name]
        case list() | tuple():
            return [_substituted(one, values) for one in argument]
    return argument

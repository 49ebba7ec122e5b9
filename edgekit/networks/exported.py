"""A torch module as a program of ATen operators, by torch's own exporter."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.core.errors import ConversionError
from edgekit.core.graph import TensorSpec
from edgekit.networks.program import GETITEM, Dtype, Program, Reference, Step

_BATCH = 2  # at batch 1 a squeeze would take the batch away


def exported(module: nn.Module, input_shape: tuple[int, ...]) -> Program:
    """The program of a module in eval mode, at a batch of 2, or of 1 where it takes no other.

    Raises ConversionError where torch cannot export it.
    """
    try:
        try:
            program = torch.export.export(module, (torch.zeros(_BATCH, *input_shape),))
        except Exception:  # a module may be written for single inputs
            program = torch.export.export(module, (torch.zeros(1, *input_shape),))
    except Exception as error:  # whatever the module's own code makes the exporter trip over
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(
            f"torch cannot export the network at inputs of shape (N, {', '.join(map(str, input_shape))}): {reason}",
            hint="check the shape of the input; its control flow must not depend on values",
        ) from error
    return program_of(program)


def program_of(exported_program: torch.export.ExportedProgram) -> Program:
    """Raises ConversionError for what is not an operator on tensors of fixed shapes."""
    signature = exported_program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    held = {**exported_program.constants, **exported_program.state_dict}
    inputs, steps, outputs = [], [], []
    for node in exported_program.graph.nodes:
        match node.op:
            case "placeholder" if node.name not in names:
                inputs.append(_spec(node))
            case "call_function":
                steps.append(_step(node, names))
            case "output":
                outputs = [names.get(one.name, one.name) for one in node.all_input_nodes]
    return Program(
        inputs=tuple(inputs),
        steps=tuple(steps),
        outputs=tuple(outputs),
        constants={name: held[name].detach() for name in names.values()},
        parameters=frozenset(signature.inputs_to_parameters.values()),
    )


def _spec(node: fx.Node) -> TensorSpec:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        raise ConversionError(f"input {node.name} is not a tensor", hint="make the network take one tensor")
    dtype = str(value.dtype).removeprefix("torch.")
    return TensorSpec(name=node.name, shape=tuple(value.shape), dtype=dtype, scale=None, zero_point=None)


def _step(node: fx.Node, names: Mapping[str, str]) -> Step:
    target: Any = node.target
    if target is operator.getitem:
        source, index = node.args
        return Step(name=node.name, operator=GETITEM, arguments={"self": _argument(source, names), "index": index})
    if not isinstance(target, torch._ops.OpOverload):
        return Step(name=node.name, operator=getattr(target, "__name__", str(target)), arguments={})
    schema = target._schema.arguments
    given = {argument.name: value for argument, value in zip(schema, node.args, strict=False)} | dict(node.kwargs)
    return Step(
        name=node.name,
        operator=str(target).removeprefix("aten."),
        arguments={name: _argument(value, names) for name, value in given.items()},
    )


def _argument(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case fx.Node():
            return Reference(names.get(value.name, value.name))
        case list() | tuple():
            return [_argument(one, names) for one in value]
        case torch.dtype():
            return Dtype(str(value).removeprefix("torch."))
        case torch.device() | torch.layout() | torch.memory_format():
            return None
    return value

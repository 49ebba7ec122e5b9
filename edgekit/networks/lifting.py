"""A program of ATen operators becomes a graph module of standard layers that takes any batch."""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.core.errors import ConversionError
from edgekit.networks import operators
from edgekit.networks.activations import join_activations
from edgekit.networks.free_batch import batch_axis, free_expansion, free_view
from edgekit.networks.layer_making import make_layer
from edgekit.networks.program import GETITEM, Program, Reference, Step
from edgekit.networks.simplification import simplified

_MAX_ELEMENTS = 1 << 28
"""Of one tensor at the batches that shapes are tried at (1 GB of float32)."""
_EMPTY = fx.GraphModule(nn.Module(), fx.Graph())
"""Its attributes are names that a layer cannot have."""


def lifted(program: Program) -> fx.GraphModule:
    """The graph module in eval mode: a float32 tensor (N, ...), N free -> one tensor (N, ...).

    Layers and constants keep the names of the program's constants: "layer1.0.conv1" for "layer1.0.conv1.weight". Raises
    ConversionError, naming operator and step, for what cannot be read, has several inputs or outputs, or needs one batch.
    """
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        raise ConversionError(
            f"the network has {len(program.inputs)} inputs and {len(program.outputs)} outputs, expected one tensor each",
            hint="wrap it in a module that takes one tensor and returns one",
        )
    (spec,) = program.inputs
    if spec.dtype != "float32" or not spec.shape:
        raise ConversionError(
            f"the network takes {spec.dtype} of shape {spec.shape}, expected float32 (N, ...)",
            hint="export the float32 network with its batch as the first dimension",
        )
    return _Lifter(simplified(program)).module()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Value:
    """What a name stands for: its values on device "meta" at the program's batch and at another (tensors, tuples of tensors or
    sizes), and its node, or the constant tensor that it is and the name of the constant that it was made from."""

    here: Any
    there: Any
    node: fx.Node | None = None
    constant: Tensor | None = None
    origin: str | None = None


class _Lifter:
    def __init__(self, program: Program) -> None:
        self._program = program
        (self._input,) = program.inputs
        self._batch, self._other_batch = self._input.shape[0], self._input.shape[0] + 3
        self._graph = fx.Graph()
        self._attributes: dict[str, Any] = {}
        self._reused: dict[Any, str] = {}
        self._values: dict[str, _Value] = {}

    def module(self) -> fx.GraphModule:
        shape = self._input.shape[1:]
        self._placeholder = self._graph.placeholder("x")
        self._values[self._input.name] = _Value(
            here=torch.empty(self._batch, *shape, device="meta"),
            there=torch.empty(self._other_batch, *shape, device="meta"),
            node=self._placeholder,
        )
        for name, constant in self._program.constants.items():
            meta = constant.to("meta")
            self._values[name] = _Value(here=meta, there=meta, constant=constant, origin=name)
        for step in self._program.steps:
            self._values[step.name] = self._lift(step)
        self._graph.output(self._checked_output())
        module = fx.GraphModule(self._attributes, self._graph, "Network")
        join_activations(module)
        return module.eval()

    def _checked_output(self) -> fx.Node:
        output = self._values[self._program.outputs[0]]
        if output.node is None or not isinstance(output.here, Tensor):
            raise ConversionError("the output does not depend on the input", hint="export the network again")
        here, there = output.here, output.there
        if here.dtype != torch.float32:
            raise ConversionError(
                f"the network gives {here.dtype}, expected float32", hint="remove argmax and casts at its end"
            )
        free = here.dim() > 0 and (here.shape[0], there.shape[0]) == (self._batch, self._other_batch)
        if not free or here.shape[1:] != there.shape[1:]:
            raise ConversionError(
                f"the output has shape {tuple(here.shape)} for inputs of shape {self._input.shape}: its first dimension is "
                "not the batch",
                hint="return one row for each input",
            )
        return output.node

    def _lift(self, step: Step) -> _Value:
        if step.operator == GETITEM:
            return self._item(step)
        overload = operators.overload_of(step.operator, step=step.name)
        given = operators.completed(overload, step.arguments, step=step.name)
        if step.operator.startswith("batch_norm") and given["training"]:
            raise ConversionError(
                f"{step.operator} (at {step.name}) normalises by batch statistics: the network was exported in training mode",
                hint="call .eval() on the module before torch.export.export",
            )
        here = self._traced(overload, given, "here", step)
        freed = self._freed(step, given, here)
        there = self._traced(overload, freed, "there", step)
        if isinstance(here, Tensor) and here.dim() != there.dim():
            raise ConversionError(
                f"{step.operator} (at {step.name}) takes the dimension of the batch away at batch {self._batch}",
                hint="give the dimensions to squeeze, or export at batch 2",
            )
        if not isinstance(here, (Tensor, tuple, list)):
            return _Value(here=here, there=there)
        if self._is_constant(step, here, there):
            return self._folded(step, overload, freed, here)
        if isinstance(here, Tensor) and step.operator in operators.CASTS:
            return self._cast(step, here)
        if isinstance(here, Tensor) and step.operator == "expand.default":
            source = self._value(given["self"])
            if here.shape == source.here.shape:
                return source
        node = self._layer(step, given, here) or self._function(step, overload, freed)
        return _Value(here=here, there=there, node=node)

    def _item(self, step: Step) -> _Value:
        source, index = self._value(step.arguments["self"]), step.arguments["index"]
        here, there = source.here[index], source.there[index]
        if source.constant is not None:
            return _Value(here=here, there=there, constant=source.constant[index], origin=None)
        if source.node is not None and source.node.op == "call_module":  # layers give the first of several results
            if index != 0:
                raise ConversionError(
                    f"result {index} of {source.node.target} (at {step.name}) is not supported",
                    hint="do not use the indices of a pooling, nor the statistics of a normalisation",
                )
            return _Value(here=here, there=there, node=source.node)
        node = self._graph.call_function(operator.getitem, (source.node, index))
        return _Value(here=here, there=there, node=node)

    def _is_constant(self, step: Step, here: Any, there: Any) -> bool:
        if any(self._values[name].node is not None for name in step.references):
            return False
        shapes = [
            [one.shape for one in ([tensors] if isinstance(tensors, Tensor) else tensors)] for tensors in (here, there)
        ]
        return shapes[0] == shapes[1]

    def _folded(self, step: Step, overload: Any, given: Mapping[str, Any], here: Any) -> _Value:
        constants = {name: self._substituted(value, "constant") for name, value in given.items()}
        constant = operators.call(overload, constants)
        names = list(step.references)
        origin = self._values[names[0]].origin if len(names) == 1 else None
        return _Value(here=here, there=here, constant=constant, origin=origin)

    def _cast(self, step: Step, here: Tensor) -> _Value:
        source = self._value(next(iter(step.arguments.values())))
        if here.dtype != source.here.dtype:
            raise ConversionError(
                f"{step.operator} (at {step.name}) turns {source.here.dtype} into {here.dtype}, expected float32 throughout",
                hint="export the float32 network",
            )
        return source

    def _freed(self, step: Step, given: Mapping[str, Any], here: Any) -> dict[str, Any]:
        """The arguments, with sizes that hold for any batch."""
        freed = dict(given)
        if step.operator in operators.VIEWS:
            source = self._value(given["self"])
            axis = batch_axis(source.here.shape, source.there.shape)
            if axis is not None:
                target = free_view(source.here.shape, axis, here.shape, batch=self._batch)
                if target is None:
                    raise ConversionError(
                        f"{step.operator} (at {step.name}) to {tuple(here.shape)} mixes the batch with other dimensions",
                        hint="keep the batch as the first dimension of views",
                    )
                freed["shape"] = target
        elif step.operator == "expand.default":
            source = self._value(given["self"])
            axis = batch_axis(source.here.shape, source.there.shape)
            if axis is not None:
                freed["size"] = free_expansion(source.here.shape, axis, given["size"])
            elif len(given["size"]) >= source.here.dim() and self._repeats_for_the_batch(source.here, here):
                freed["size"] = [self._batch_size(), *given["size"][1:]]
        elif step.operator in {"cat.default", "concat.default"} and given["dim"] != 0:
            freed["tensors"] = [self._rows_for_all(one) for one in given["tensors"]]
        elif step.operator == "native_group_norm.default":
            freed["N"] = self._batch_size()
        return freed

    def _repeats_for_the_batch(self, source: Tensor, expanded: Tensor) -> bool:
        rows = source.shape[0] if source.dim() == expanded.dim() else 1
        return self._batch > 1 and rows == 1 and expanded.shape[0] == self._batch

    def _rows_for_all(self, tensor: Reference) -> Reference:
        """A constant that holds one row as often as there are inputs, made to hold it as often as there are at any batch."""
        value = self._value(tensor)
        constant = value.constant
        if constant is None or len(constant) != self._batch or not bool((constant == constant[:1]).all()):
            return tensor
        row = self._attribute(_Value(here=None, there=None, constant=constant[:1], origin=value.origin))
        sizes = [self._value(self._batch_size()).node, *constant.shape[1:]]
        node = self._graph.call_function(torch.ops.aten.expand.default, (self._graph.get_attr(row), sizes))
        name = f"{tensor.name} for all"
        there = value.there[:1].expand(self._other_batch, *constant.shape[1:])
        self._values[name] = _Value(here=value.here, there=there, node=node)
        return Reference(name)

    def _batch_size(self) -> Reference:
        """A name for the size of the batch."""
        name = "the batch"
        if name not in self._values:
            with self._graph.inserting_after(self._placeholder):
                node = self._graph.call_function(torch.ops.aten.sym_size.int, (self._placeholder, 0))
            self._values[name] = _Value(here=self._batch, there=self._other_batch, node=node)
        return Reference(name)

    def _traced(self, overload: Any, given: Mapping[str, Any], batch: str, step: Step) -> Any:
        """What it gives on device "meta" at one of the two batches."""
        try:
            result = operators.call(overload, {name: self._substituted(one, batch) for name, one in given.items()})
        except Exception as error:  # whatever torch makes of arguments that do not fit
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            shapes = " and ".join(
                str(tuple(self._values[name].here.shape))
                for name in step.references
                if isinstance(self._values[name].here, Tensor)
            )
            only = "" if batch == "here" else f" for batches other than {self._batch}"
            raise ConversionError(
                f"{step.operator} (at {step.name}) does not fit {shapes or 'its arguments'}{only}: {reason}",
                hint="check that the network runs at any batch, and export it again",
            ) from error
        for tensor in [result] if isinstance(result, Tensor) else result if isinstance(result, (tuple, list)) else []:
            if math.prod(tensor.shape) > _MAX_ELEMENTS:
                raise ConversionError(
                    f"{step.operator} (at {step.name}) gives a tensor of shape {tuple(tensor.shape)}: over {_MAX_ELEMENTS} "
                    "numbers",
                    hint="edgekit is for networks that fit small boards",
                )
        return result

    def _layer(self, step: Step, given: Mapping[str, Any], here: Any) -> fx.Node | None:
        if step.operator in operators.VIEWS:
            return self._flatten(step, given, here)
        if step.operator not in operators.LAYERS:
            return None
        sources = {name: self._value(one) for name, one in given.items() if isinstance(one, Reference)}
        plain = dict(given) | {name: source.constant for name, source in sources.items() if source.constant is not None}
        read = next(iter(sources.values()))
        made = make_layer(step.operator, plain, rank=read.here.dim())
        if made is None:
            return None
        node = sources[made.reads].node
        assert node is not None  # noqa: S101 (a layer reads what is not constant)
        if made.pad:
            node = self._graph.call_function(torch.ops.aten.pad.default, (node, list(made.pad)))
        origins = [source.origin for source in sources.values() if source.origin is not None]
        key = (step.operator, *origins, str(made.module), made.pad)
        if not origins:
            name = self._unused(step.name)
        elif key in self._reused:
            return self._graph.call_module(self._reused[key], (node,))
        else:
            name = self._reused[key] = self._unused(origins[0].rpartition(".")[0] or step.name)
        self._attributes[name] = made.module
        return self._graph.call_module(name, (node,))

    def _flatten(self, step: Step, given: Mapping[str, Any], here: Tensor) -> fx.Node | None:
        source = self._value(given["self"])
        shape = source.here.shape
        flat = len(shape) > 2 and tuple(here.shape) == (shape[0], math.prod(shape[1:]))
        if not flat or source.there.shape[0] != self._other_batch or source.node is None:
            return None
        name = self._unused(step.name)
        self._attributes[name] = nn.Flatten()
        return self._graph.call_module(name, (source.node,))

    def _function(self, step: Step, overload: Any, given: Mapping[str, Any]) -> fx.Node:
        nodes = {name: self._substituted(value, "node") for name, value in given.items()}
        positional, named = operators.positioned(overload, nodes)
        return self._graph.create_node("call_function", overload, positional, named, name=step.name)

    def _substituted(self, argument: Any, what: str) -> Any:
        """With names replaced by their values at a batch, by constants or by nodes; sizes that are numbers stay numbers."""
        match argument:
            case Reference():
                value = self._value(argument)
                if what in {"here", "there"}:
                    return getattr(value, what)
                if what == "constant":
                    return value.here if value.constant is None else value.constant
                return self._node(value)
            case list() | tuple():
                return [self._substituted(one, what) for one in argument]
        return argument

    def _node(self, value: _Value) -> Any:
        if value.node is not None:
            return value.node
        if value.constant is None:
            return value.here
        name = self._attribute(value)
        return self._graph.get_attr(name)

    def _attribute(self, value: _Value) -> str:
        """The name of a constant that no layer holds: it is learnt if the constant that it was made from is."""
        assert value.constant is not None  # noqa: S101
        key = (value.origin, id(value.constant))
        if key not in self._reused:
            name = self._reused[key] = self._unused((value.origin or "constant").replace(".", "_"))
            learnt = value.origin in self._program.parameters and value.constant.is_floating_point()
            tensor = value.constant.detach().clone()
            self._attributes[name] = nn.Parameter(tensor) if learnt else tensor
        return self._reused[key]

    def _unused(self, name: str) -> str:
        """`name`, with a number behind it where it would hide another one, as attributes that code can speak of.

        fx writes code with these names in it, so nothing but letters, digits and underscores of a file may reach it.
        """

        def taken(one: str) -> bool:
            return any(one == old or one.startswith(f"{old}.") or old.startswith(f"{one}.") for old in self._attributes)

        parts = [part for part in re.sub(r"[^\w.]", "_", name, flags=re.ASCII).split(".") if part.strip("_")]
        hidden = {part for part in parts if keyword.iskeyword(part) or hasattr(_EMPTY, part)}
        name = ".".join(f"{part}_" if part in hidden else part for part in parts) or "constant"
        free, number = name, 0
        while taken(free):
            number += 1
            free = f"{name}_{number}"
        return free

    def _value(self, argument: Any) -> _Value:
        return self._values[argument.name]

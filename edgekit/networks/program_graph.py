"""What an exported torch program executes on a board, read without running it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import BadInputError
from edgekit.core.graph import Graph, TensorSpec
from edgekit.core.operators import Operator, OperatorKind, Tensor

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

# Executed as part of the operator that they follow.
_FUSED = frozenset({"batch_norm", "clamp", "hardtanh", "relu", "relu6"})
_HOSTS = frozenset({"add", "conv1d", "conv2d", "conv_transpose2d", "linear", "matmul"})
# Nothing is executed for them: what they give is what they got.
_ALIASES = frozenset({"alias", "clone", "contiguous", "detach", "dropout", "identity"})
_POOLS = frozenset({"adaptive_avg_pool2d", "amax", "avg_pool2d", "max_pool2d", "mean"})


def read_program(program: ExportedProgram) -> Graph:
    """The operators of `torch.export.export(module, inputs)` in execution order: what no output needs left out, normalisation
    and activation fused into the convolution or sum before. Operators with weights have the path of their module for a name; names
    of the census are those of ATen.

    A free first dimension is taken as batch 1. Raises BadInputError where another dimension is free.
    """
    return _Reader(program).graph()


class _Reader:
    """Looks up what the nodes of one program stand for."""

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        constant = {
            *signature.inputs_to_parameters,
            *signature.inputs_to_buffers,
            *signature.inputs_to_lifted_tensor_constants,
        }
        self._nodes: Sequence[Node] = [node for node in program.graph.nodes if node.op == "call_function"]
        self._given = [node for node in program.graph.nodes if node.op == "placeholder" and node.name not in constant]
        self._constant = constant
        self._paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        (self._end,) = (node for node in program.graph.nodes if node.op == "output")
        self._alias: dict[str, Node] = {}

    def graph(self) -> Graph:
        nodes = self._executed(self._live())
        operators = tuple(self._operator(node) for node in nodes)
        dtypes = Counter(dtype for node in nodes for dtype in {_dtype(one) for one in (node, *self._read(node))})
        return Graph(
            operators=operators,
            census=Counter(_name(node) for node in nodes),
            dtypes=dtypes,
            inputs=tuple(_spec(node) for node in self._given),
            outputs=tuple(_spec(node) for node in self._end.all_input_nodes),
        )

    def _live(self) -> list[Node]:
        """Those that an output depends on."""
        wanted = set(self._end.all_input_nodes)
        kept = []
        for node in reversed(self._nodes):
            if node in wanted:
                wanted.update(node.all_input_nodes)
                kept.append(node)
        return kept[::-1]

    def _executed(self, nodes: Iterable[Node]) -> list[Node]:
        """Without aliases, what is fused into the node before, and the picking of one result out of several."""
        nodes = list(nodes)
        readers = Counter(given for node in (*nodes, self._end) for given in node.all_input_nodes)
        hosts: set[Node] = set()
        kept = []
        for node in nodes:
            read = self._read(node)
            first = read[0] if read else None
            if first is not None and (_name(node) in _ALIASES or _name(node) == "getitem"):
                self._alias[node.name] = first
                readers[first] += readers[node] - 1
            elif first is not None and _name(node) in _FUSED and first in hosts and readers[first] == 1:
                self._alias[node.name] = first
                readers[first] = readers[node]
            else:
                kept.append(node)
                if _name(node) in _HOSTS:
                    hosts.add(node)
        return kept

    def _read(self, node: Node) -> list[Node]:
        """The activations it reads."""
        return [self._source(given) for given in node.all_input_nodes if given.name not in self._constant]

    def _source(self, node: Node) -> Node:
        while node.name in self._alias:
            node = self._alias[node.name]
        return node

    def _operator(self, node: Node) -> Operator:
        read, output = self._read(node), _shape(node)
        kind, filters, biases, macs = self._arithmetic(node, read, output)
        return Operator(
            name=self._layer(node),
            kind=kind,
            inputs=tuple(Tensor(name=one.name, elements=math.prod(_shape(one))) for one in read),
            output=Tensor(name=node.name, elements=math.prod(output)),
            macs=macs,
            weights=math.prod(filters) if filters else 0,
            biases=biases,
            channels=output[1] if len(output) > 1 else 0,
            kernel=filters[2] if len(filters) == 4 else _first(node, 1) if kind is OperatorKind.POOL else 1,
            stride=_first(node, 3) if len(filters) == 4 else _first(node, 2) if kind is OperatorKind.POOL else 1,
        )

    def _layer(self, node: Node) -> str:
        """The module whose parameters it holds, by its path; its own name where it has none."""
        paths = [self._paths[given.name] for given in node.all_input_nodes if given.name in self._paths]
        return paths[0].rpartition(".")[0] or paths[0] if paths else node.name

    def _arithmetic(
        self, node: Node, read: Sequence[Node], output: Sequence[int]
    ) -> tuple[OperatorKind, tuple[int, ...], int, int]:
        """(kind, shape of the filters, biases, multiply-accumulates)"""
        name = _name(node)
        constants = [_shape(one) for one in node.all_input_nodes if one.name in self._constant]
        if name in {"conv1d", "conv2d", "conv_transpose2d", "linear"} and constants:
            filters = constants[0]
            biases = math.prod(constants[1]) if len(constants) > 1 else 0
            if name == "linear":
                return OperatorKind.DENSE, filters, biases, math.prod(output) // output[-1] * math.prod(filters)
            if name == "conv_transpose2d":
                return OperatorKind.OTHER, filters, biases, math.prod(_shape(read[0])[2:]) * math.prod(filters)
            groups = node.args[6] if len(node.args) > 6 else 1
            channels = _shape(read[0])[1]
            # One channel from one is what TFLite takes for depthwise too.
            depthwise = groups == channels and (channels > 1 or filters[0] == 1)
            kind = OperatorKind.DEPTHWISE if depthwise else OperatorKind.CONV
            return kind, filters, biases, math.prod(output[2:]) * math.prod(filters)
        if name == "matmul":
            return OperatorKind.OTHER, (), 0, math.prod(output) * _shape(read[0])[-1]
        if name == "add":
            return OperatorKind.ADD, (), 0, 0
        return (OperatorKind.POOL if name in _POOLS else OperatorKind.OTHER), (), 0, 0


def _name(node: Node) -> str:
    """Of the operator without its overload, and without the sign of one that works in place."""
    target: Any = node.target
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet)).rstrip("_")


def _shape(node: Node) -> tuple[int, ...]:
    """Raises BadInputError where a dimension other than the first is free."""
    value = node.meta["val"]
    dimensions = (value[0] if isinstance(value, (tuple, list)) else value).shape
    shape = [1 if index == 0 and not isinstance(size, int) else size for index, size in enumerate(dimensions)]
    if not all(isinstance(size, int) for size in shape):
        raise BadInputError(
            f"{node.name} of the program has a dynamic shape {tuple(dimensions)}", hint="export it with fixed shapes"
        )
    return tuple(shape)


def _first(node: Node, position: int) -> int:
    """The first number of an argument such as a kernel size or a stride, 1 where it is left out."""
    given: Any = node.args[position] if len(node.args) > position else 1
    number = given[0] if isinstance(given, (list, tuple)) and given else given
    return number if isinstance(number, int) and not isinstance(number, bool) else 1


def _dtype(node: Node) -> str:
    value = node.meta["val"]
    return str((value[0] if isinstance(value, (tuple, list)) else value).dtype).removeprefix("torch.")


def _spec(node: Node) -> TensorSpec:
    return TensorSpec(name=node.name, shape=_shape(node), dtype=_dtype(node), scale=None, zero_point=None)

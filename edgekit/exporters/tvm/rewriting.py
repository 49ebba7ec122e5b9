"""Relax modules rewritten call by call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PERMUTE, CONVOLUTION = "relax.permute_dims", "relax.nn.conv2d"
SUBTRACT, MULTIPLY, CAST = "relax.subtract", "relax.multiply", "relax.astype"


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A call of an operator, with what its arguments are bound to."""

    call: Any
    name: str
    value: Callable[[Any], Any]
    builder: Any

    def argument(self, index: int) -> Call | None:
        """The call that an argument stands for."""
        return self.of(self.call.args[index])

    def of(self, expression: Any) -> Call | None:
        """The call that an expression stands for."""
        from tvm import ir, relax

        found = self.value(expression)
        if not (isinstance(found, relax.Call) and isinstance(found.op, ir.Op)):
            return None
        return Call(call=found, name=found.op.name, value=self.value, builder=self.builder)

    def constant(self, expression: Any) -> Array | None:
        from tvm import relax

        found = self.value(expression)
        return np.asarray(found.data.numpy()) if isinstance(found, relax.Constant) else None

    def emit(self, expression: Any) -> Any:
        return self.builder.emit(expression)


def rewritten(module: Any, rewrite: Callable[[Call], Any]) -> Any:
    """Each call of an operator, in order, becomes what `rewrite` gives for it, and stays where that is None."""
    from tvm import ir, relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Rewriter(PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            call = self.visit_expr_post_order(call)
            if not isinstance(call.op, ir.Op):
                return call
            made = rewrite(Call(call=call, name=call.op.name, value=self.value, builder=self.builder_))
            return call if made is None else made

        def value(self, expression: Any) -> Any:
            while isinstance(expression, relax.Var):
                found = self.lookup_binding(expression)
                if found is None:
                    return expression
                expression = found
            return expression

    rewriter = Rewriter(module)
    for variable, function in module.functions_items():
        if isinstance(function, relax.Function):
            rewriter.builder_.update_func(variable, rewriter.visit_expr(function))
    return rewriter.builder_.get()


def order_of(permuting: Call) -> list[int]:
    """Of the axes of a change of layout."""
    axes = permuting.call.attrs.axes
    if axes is None:
        return list(reversed(range(len(permuting.call.ty.shape))))
    return [int(axis) for axis in axes]


def number(value: Any) -> Any:
    """A constant of float32."""
    from tvm import relax

    return relax.const(np.float32(value))

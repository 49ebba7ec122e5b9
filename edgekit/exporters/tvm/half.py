"""Relax modules in half precision: float32 at both ends, float16 between."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

HALF: Final = "float16"
FLOAT: Final = "float32"

# Sums of many terms, what may exceed the greatest half, 65504, on the way, and what the importer wrote out for float32.
_SUMS = ("mean", "nn.adaptive_avg_pool2d", "nn.avg_pool2d", "std", "sum", "variance")
_NORMALISING = ("nn.group_norm", "nn.instance_norm", "nn.layer_norm", "nn.log_softmax", "nn.rms_norm", "nn.softmax")
_IN_FLOAT = frozenset(f"relax.{name}" for name in (*_SUMS, *_NORMALISING, "exp", "power", "call_tir"))


def in_half_precision(module: Any) -> Any:
    """The module of `network.channels_last` with weights, activations and arithmetic in float16, its ends as they were.

    Means, pools of them and softmax are computed in float32. Weights are rounded to the nearest half; what is too large for one
    becomes infinite, which verification finds.
    """
    from tvm import ir, relax
    from tvm.relax import transform
    from tvm.relax.expr_functor import PyExprMutator, mutator

    module = transform.CanonicalizeBindings()(transform.Normalize()(module))
    answer = _answer_of(module["main"].body)

    @mutator
    class Halving(PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            if not isinstance(call.op, ir.Op):
                return self.visit_expr_post_order(call)
            dtype = FLOAT if call.op.name in _IN_FLOAT else HALF
            arguments = [self.as_type(self.visit_expr(argument), dtype) for argument in call.args]
            made = relax.Call(call.op, arguments, call.attrs, call.ty_args)
            return relax.op.astype(self.builder_.emit(made), FLOAT) if call.same_as(answer) else made

        def as_type(self, argument: Any, dtype: str) -> Any:
            if isinstance(argument, relax.Tuple):
                return relax.Tuple([self.as_type(field, dtype) for field in argument.fields])
            given = str(getattr(argument.ty, "dtype", dtype))
            if given == dtype or given not in (HALF, FLOAT):
                return argument
            if isinstance(argument, relax.Constant):
                with np.errstate(over="ignore"):
                    return relax.const(argument.data.numpy().astype(dtype))
            return self.builder_.emit(relax.op.astype(argument, dtype))

    halving = Halving(module)
    halving.builder_.update_func(module.get_global_var("main"), halving.visit_expr(module["main"]))
    return transform.DeadCodeElimination()(halving.builder_.get())


def _answer_of(body: Any) -> Any:
    """The call whose result a function gives. Raises TypeError where it gives something else."""
    from tvm import relax

    bound = {binding.var: binding.value for block in body.blocks for binding in block.bindings}
    found = bound.get(body.body)
    if not isinstance(found, relax.Call):
        raise TypeError("its output is the result of no operator")
    return found

"""Random networks: chains of operators with skips."""

from __future__ import annotations

from hypothesis import strategies as st

from edgekit.core.operators import Operator, OperatorKind, Tensor


@st.composite
def networks(draw: st.DrawFn, *, most: int = 12) -> tuple[Operator, ...]:
    tensors = [Tensor(name="input", elements=draw(st.integers(1, 5000)))]
    operators = []
    for step in range(draw(st.integers(1, most))):
        skip = draw(st.sampled_from(tensors))
        inputs = (tensors[-1],) if skip == tensors[-1] or draw(st.booleans()) else (skip, tensors[-1])
        output = Tensor(name=f"t{step}", elements=draw(st.integers(1, 5000)))
        operators.append(
            Operator(
                name=output.name,
                kind=draw(st.sampled_from(OperatorKind)),
                inputs=inputs,
                output=output,
                macs=draw(st.integers(0, 10**7)),
                weights=draw(st.integers(0, 10**5)),
                biases=draw(st.integers(0, 512)),
                channels=draw(st.integers(0, 512)),
                kernel=draw(st.sampled_from((1, 3, 5))),
                stride=draw(st.sampled_from((1, 2))),
            )
        )
        tensors.append(output)
    return tuple(operators)

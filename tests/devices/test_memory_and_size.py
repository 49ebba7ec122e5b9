from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from network_strategies import networks

from edgekit.core.operators import Operator, OperatorKind, Tensor
from edgekit.devices.memory import peak_ram_bytes
from edgekit.devices.precision import Precision
from edgekit.devices.size import file_size_bytes, fixed_size_bytes, operator_size_bytes

precisions = st.sampled_from(Precision)


def simulated_peak_bytes(operators: tuple[Operator, ...], element_bytes: int) -> int:
    """Runs the network with a counter: allocates outputs, frees what nobody reads any more."""

    def rounded(tensor: Tensor) -> int:
        return (tensor.elements * element_bytes + 15) // 16 * 16

    written = {operator.output.name for operator in operators}
    held = {t.name: rounded(t) for operator in operators for t in operator.inputs if t.name not in written}
    peak = 0
    for step, operator in enumerate(operators):
        held[operator.output.name] = rounded(operator.output)
        peak = max(peak, sum(held.values()))
        still_read = {tensor.name for later in operators[step + 1 :] for tensor in later.inputs}
        held = {name: size for name, size in held.items() if name in still_read}
    return peak


@given(networks(), precisions)
def test_peak_ram_is_that_of_running_the_network(operators, precision):
    assert peak_ram_bytes(operators, precision) == simulated_peak_bytes(operators, precision.element_bytes)


@given(networks(), precisions)
def test_peak_ram_holds_the_hungriest_operator(operators, precision):
    elements = max(
        sum(tensor.elements for tensor in set(operator.inputs)) + operator.output.elements for operator in operators
    )
    assert peak_ram_bytes(operators, precision) >= elements * precision.element_bytes


def test_shortcut_is_kept_until_the_addition():
    a, b, c, d = (Tensor(name=name, elements=1600) for name in "abcd")
    one, two = (Operator(name=y.name, kind=OperatorKind.CONV, inputs=(x,), output=y) for x, y in ((a, b), (b, c)))
    add = Operator(name="d", kind=OperatorKind.ADD, inputs=(a, c), output=d)
    assert peak_ram_bytes((one, two), Precision.INT8) == 2 * 1600
    assert peak_ram_bytes((one, two, add), Precision.INT8) == 3 * 1600
    assert peak_ram_bytes((one, two, add), Precision.FP32) == 4 * 3 * 1600
    assert peak_ram_bytes((), Precision.INT8) == 0


@given(networks(), precisions)
def test_file_size_is_additive_and_holds_the_weights(operators, precision):
    size_bytes = file_size_bytes(operators, precision)
    parts = sum(operator_size_bytes(operator, precision) for operator in operators)
    assert size_bytes == fixed_size_bytes(precision) + parts
    assert size_bytes > sum(operator.weights for operator in operators) * precision.element_bytes


@given(networks(), precisions, st.integers(1, 1000))
def test_more_weights_make_a_larger_file(operators, precision, more):
    larger = replace(operators[0], weights=operators[0].weights + more)
    assert operator_size_bytes(larger, precision) > operator_size_bytes(operators[0], precision)

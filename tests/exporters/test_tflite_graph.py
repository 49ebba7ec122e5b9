from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from exported_networks import Exported
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.errors import BadInputError
from edgekit.core.operators import OperatorKind
from edgekit.exporters.tflite_graph import read_graph

WITH_WEIGHTS = (OperatorKind.CONV, OperatorKind.DEPTHWISE, OperatorKind.DENSE)
TINY = Path(__file__).parents[2].parent / "shared" / "data" / "models" / "mlperf_tiny"


def test_operators_are_those_that_torch_ran_in_the_same_order(exported: Exported) -> None:
    for artifact in (exported.fp32, exported.int8):
        found = [operator for operator in read_graph(artifact.path).operators if operator.kind in WITH_WEIGHTS]
        for operator, described in zip(found, exported.model.operators, strict=True):
            for field in ("kind", "macs", "weights", "biases", "channels", "kernel", "stride"):
                assert getattr(operator, field) == getattr(described, field), (described.name, field)
            assert operator.output.elements == described.output.elements


def test_a_tensor_is_read_only_after_it_was_written(exported: Exported) -> None:
    operators = read_graph(exported.int8.path).operators
    known = {operators[0].inputs[0]}
    for operator in operators:
        assert set(operator.inputs) <= known
        known.add(operator.output)


def test_no_operator_moves_data_between_layouts_or_number_formats(exported: Exported) -> None:
    for artifact in (exported.fp32, exported.int8):
        census = read_graph(artifact.path).census
        assert not {"TRANSPOSE", "QUANTIZE", "DEQUANTIZE"} & set(census)
        assert census["ADD"] == 2
        assert census["MEAN"] == 1


def test_an_int8_file_computes_in_integers_only(exported: Exported) -> None:
    assert set(read_graph(exported.int8.path).dtypes) == {"int8", "int32"}
    fp32 = read_graph(exported.fp32.path)
    assert fp32.dtypes["float32"] == sum(fp32.census.values())


def test_inputs_and_outputs_have_names_and_shapes(exported: Exported) -> None:
    graph = read_graph(exported.int8.path)
    assert [(tensor.name, tensor.shape) for tensor in graph.inputs] == [("image", (1, 32, 32, 3))]
    assert [(tensor.name, tensor.shape) for tensor in graph.outputs] == [
        ("probabilities", (1, len(exported.model.labels)))
    ]


@pytest.mark.parametrize("content", [b"", b"text, not a network", bytes(range(256)) * 8, b"\x20\x00\x00\x00TFL3" * 40])
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=str(path)):
        read_graph(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), value=st.binary(min_size=1, max_size=8), cut=st.floats(0, 0.3))
def test_a_damaged_file_is_read_or_refused_but_never_crashes(
    plain: Exported, tmp_path: Path, at: float, value: bytes, cut: float
) -> None:
    content = bytearray(plain.int8.path.read_bytes())
    start = int(at * len(content))
    content[start : start + len(value)] = value
    path = tmp_path / "model.tflite"
    path.write_bytes(content[: int((1 - cut) * len(content))])
    with suppress(BadInputError):
        assert read_graph(path).census


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        read_graph(tmp_path / "none.tflite")


@pytest.mark.skipif(not TINY.is_dir(), reason="the MLPerf Tiny networks are not here")
@pytest.mark.parametrize(
    ("name", "macs", "kinds"),
    [
        ("pretrainedResnet_quant", 12_501_632, {OperatorKind.CONV: 9, OperatorKind.ADD: 3, OperatorKind.DENSE: 1}),
        ("kws_ref_model", 2_656_768, {OperatorKind.CONV: 5, OperatorKind.DEPTHWISE: 4, OperatorKind.DENSE: 1}),
        ("vww_96_int8", 7_489_664, {OperatorKind.CONV: 14, OperatorKind.DEPTHWISE: 13, OperatorKind.DENSE: 1}),
        ("ad01_fp32", 264_192, {OperatorKind.DENSE: 10}),
    ],
)
def test_networks_of_other_makers_are_read(name: str, macs: int, kinds: dict[OperatorKind, int]) -> None:
    """MACs from the layer shapes of the MLPerf Tiny reference networks."""
    graph = read_graph(TINY / f"{name}.tflite")
    assert graph.macs == macs
    found = Counter(operator.kind for operator in graph.operators)
    assert {kind: found[kind] for kind in kinds} == kinds

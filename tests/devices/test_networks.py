import pytest

from edgekit.core.errors import BadInputError
from edgekit.core.operators import OperatorKind
from edgekit.devices.networks import mobilenet_v1, mobilenet_v2, reference_network

PUBLISHED = [  # MACs and parameters in millions: arXiv 1704.04861 table 6 and 7, arXiv 1801.04381 table 4
    ("mobilenet_v1", 1.0, 224, 569, 4.2),
    ("mobilenet_v1", 0.75, 224, 325, 2.6),
    ("mobilenet_v1", 0.25, 224, 41, 0.5),
    ("mobilenet_v1", 1.0, 128, 186, 4.2),
    ("mobilenet_v2", 1.0, 224, 300, 3.4),
    ("mobilenet_v2", 1.4, 224, 585, 6.9),
]


@pytest.mark.parametrize(("family", "width", "resolution", "mmacs", "mparameters"), PUBLISHED)
def test_work_is_the_published_work(family: str, width: float, resolution: int, mmacs: float, mparameters: float):
    operators = reference_network(family, width=width, resolution=resolution)
    assert sum(operator.macs for operator in operators) / 1e6 == pytest.approx(mmacs, rel=0.02)
    parameters = sum(operator.weights + operator.biases for operator in operators)
    assert parameters / 1e6 == pytest.approx(mparameters, rel=0.13)


@pytest.mark.parametrize("build", [mobilenet_v1, mobilenet_v2])
def test_operators_read_only_what_was_written(build):
    written = {"input"}
    for operator in build(width=0.35, resolution=97):
        assert {tensor.name for tensor in operator.inputs} <= written
        written.add(operator.output.name)


def test_mobilenet_v2_has_ten_shortcuts():
    assert sum(operator.kind is OperatorKind.ADD for operator in mobilenet_v2(width=1.0, resolution=224)) == 10


def test_unknown_family_is_bad_input():
    with pytest.raises(BadInputError) as caught:
        reference_network("mobilenet_v3", width=1.0, resolution=224)
    assert "mobilenet_v2" in caught.value.hint

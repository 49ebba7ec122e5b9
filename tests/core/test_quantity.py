"""What a figure may claim."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.quantity import Evidence, Quantity

TIMES = ("s", "ms", "us")
finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("unit", TIMES)
def test_an_emulated_time_is_no_latency(unit: str) -> None:
    with pytest.raises(ValueError, match="instructions"):
        Quantity(value=1.0, unit=unit, evidence=Evidence.EMULATED, source="qemu", interval=(0.5, 2.0))
    counted = Quantity(value=1e6, unit="instructions", evidence=Evidence.EMULATED, source="qemu")
    assert counted.evidence is Evidence.EMULATED


@pytest.mark.parametrize("unit", TIMES)
def test_a_predicted_time_needs_an_interval(unit: str) -> None:
    with pytest.raises(ValueError, match="interval"):
        Quantity(value=1.0, unit=unit, evidence=Evidence.PREDICTED, source="cost model")
    Quantity(value=1.0, unit=unit, evidence=Evidence.MEASURED, source="rpi4, p50 of 100 runs")
    Quantity(value=1.0, unit="bytes", evidence=Evidence.PREDICTED, source="file size model")


@settings(deadline=None)
@given(finite, finite, finite)
def test_an_interval_holds_its_value(value: float, low: float, high: float) -> None:
    if low <= value <= high:
        quantity = Quantity(value=value, unit="ms", evidence=Evidence.PREDICTED, source="m", interval=(low, high))
        assert quantity.interval == (low, high)
    else:
        with pytest.raises(ValueError, match="outside"):
            Quantity(value=value, unit="ms", evidence=Evidence.PREDICTED, source="m", interval=(low, high))


def test_a_value_that_is_no_number_lies_in_no_interval() -> None:
    with pytest.raises(ValueError, match="outside"):
        Quantity(value=math.nan, unit="ms", evidence=Evidence.PREDICTED, source="m", interval=(0.0, 1.0))


def test_its_record_names_evidence_and_source() -> None:
    quantity = Quantity(value=2.0, unit="ms", evidence=Evidence.PREDICTED, source="cost model", interval=(1.0, 3.0))
    assert json.loads(json.dumps(quantity.to_json())) == {
        "value": 2.0,
        "unit": "ms",
        "evidence": "predicted",
        "source": "cost model",
        "interval": [1.0, 3.0],
    }

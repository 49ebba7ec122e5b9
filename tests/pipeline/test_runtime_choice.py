"""Which file is taken, whatever the evidence is."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgekit.core.errors import VerificationError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.devices.precision import Precision
from edgekit.pipeline.runtime_choice import Candidate, choose, int8_notes

RUNTIMES = ("tflite", "onnx", "tvm")
INT8, FP32 = Precision.INT8, Precision.FP32


def latency(value: float, evidence: Evidence = Evidence.PREDICTED, spread: float = 1.2) -> Quantity:
    return Quantity(value=value, unit="ms", evidence=evidence, source="", interval=(value / spread, value * spread))


def executed(count: float) -> Quantity:
    return Quantity(value=count, unit="instructions", evidence=Evidence.EMULATED, source="")


def candidate(
    name: str, ms: float, *, count: float | None = None, calibrated: bool | None = None, measured: bool = False
) -> Candidate:
    runtime, precision = name.split("-")
    return Candidate(
        runtime=runtime,
        precision=Precision(precision),
        verified=True,
        latency=latency(ms, Evidence.MEASURED if measured else Evidence.PREDICTED),
        is_calibrated=runtime == "tflite" if calibrated is None else calibrated,
        instructions=None if count is None else executed(count),
    )


@st.composite
def rows(draw: st.DrawFn) -> list[Candidate]:
    """Of each runtime in each precision, on a real board, on an emulated one, or on none; some cannot be chosen."""
    board = draw(st.sampled_from(("real", "emulated", "none")))
    found = []
    for runtime in RUNTIMES:
        calibrated = draw(st.booleans())
        for precision in Precision:
            fails = draw(st.integers(0, 3)) == 0
            evidence = Evidence.MEASURED if board == "real" else Evidence.PREDICTED
            found.append(
                Candidate(
                    runtime=runtime,
                    precision=precision,
                    verified=not fails,
                    obstacle="it cannot be converted" if fails else "",
                    latency=latency(draw(st.floats(0.1, 100)), evidence),
                    is_calibrated=calibrated,
                    instructions=executed(draw(st.integers(1, 10**9))) if board == "emulated" else None,
                )
            )
    return found


@given(candidates=rows(), default=st.sampled_from(RUNTIMES))
def test_the_chosen_one_is_never_behind_another_with_the_same_evidence(
    candidates: list[Candidate], default: str
) -> None:
    able = [one for one in candidates if not one.obstacle]
    assume(able)
    chosen = choose(candidates, default_runtime=default).chosen
    assert chosen in able
    calibrated = [one for one in able if one.is_calibrated]
    fastest = min(calibrated, key=lambda one: one.latency_ms, default=None)
    for other in able:
        counted = [one.instructions.value for one in (chosen, other) if one.instructions is not None]
        if chosen.is_measured or (chosen.is_calibrated and other.is_calibrated):
            assert chosen.latency_ms <= other.latency_ms
        elif other.precision is chosen.precision and (other is fastest or not other.is_calibrated):
            assert counted == sorted(counted)


@given(candidates=rows(), factor=st.floats(0.01, 100))
def test_instructions_never_decide_between_precisions(candidates: list[Candidate], factor: float) -> None:
    """However fast the emulator makes int8 look."""
    assume(any(not one.obstacle for one in candidates))
    before = choose(candidates, default_runtime="tflite").chosen
    changed = [
        one
        if one.instructions is None or one.precision is FP32
        else Candidate(
            **{name: getattr(one, name) for name in Candidate.__slots__ if name != "instructions"},
            instructions=executed(one.instructions.value * factor),
        )
        for one in candidates
    ]
    after = choose(changed, default_runtime="tflite").chosen
    assert (after.runtime, after.precision) == (before.runtime, before.precision)


@given(candidates=rows())
def test_no_emulated_figure_becomes_a_latency(candidates: list[Candidate]) -> None:
    assume(any(not one.obstacle for one in candidates))
    choice = choose(candidates, default_runtime="tflite")
    for one in (*candidates, choice.chosen):
        assert one.latency is None or one.latency.evidence is not Evidence.EMULATED
        record = one.to_json()
        assert record["instructions"] is None or record["instructions"]["unit"] == "instructions"
    if "instructions" in choice.reason:
        assert "no latency" in choice.reason


def test_what_is_no_latency_is_refused_in_its_place() -> None:
    with pytest.raises(ValueError, match="instructions"):
        Candidate(runtime="tvm", precision=INT8, verified=True, latency=executed(1e6))
    with pytest.raises(ValueError, match="ms"):
        Candidate(runtime="tvm", precision=INT8, verified=True, latency=latency(1), instructions=latency(1))
    with pytest.raises(ValueError, match="needs a latency"):
        Candidate(runtime="tvm", precision=INT8, verified=True)


def test_a_measured_latency_goes_before_every_prediction() -> None:
    candidates = [candidate("tflite-int8", 1.0), candidate("tvm-fp32", 5.0, measured=True)]
    choice = choose(candidates, default_runtime="tflite")
    assert str(choice.chosen) == "tvm-fp32"
    assert "the only one that was measured" in choice.reason


def test_a_narrow_victory_is_called_one() -> None:
    near = [candidate("tvm-int8", 1.0, measured=True), candidate("tflite-int8", 1.1, measured=True)]
    far = [candidate("tvm-int8", 1.0, measured=True), candidate("tflite-int8", 2.0, measured=True)]
    assert "within the scatter" in choose(near, default_runtime="tflite").reason
    assert "within the scatter" not in choose(far, default_runtime="tflite").reason


def test_without_figures_of_their_own_runtimes_take_no_place_of_one_that_has_them() -> None:
    candidates = [candidate("tflite-int8", 1.0), candidate("onnx-int8", 1.0), candidate("tvm-int8", 1.0)]
    choice = choose(candidates, default_runtime="tflite")
    assert choice.chosen.runtime == "tflite"
    assert "nothing speaks for onnx and tvm" in choice.reason


def test_an_emulated_board_ranks_within_the_precision_that_the_cost_model_takes() -> None:
    candidates = [
        candidate("tflite-int8", 2.0, count=3e6),
        candidate("tvm-int8", 2.0, count=2e6),
        candidate("tflite-fp32", 1.0, count=5e6),
        candidate("tvm-fp32", 1.0, count=4e6),
    ]
    choice = choose(candidates, default_runtime="tflite")
    assert str(choice.chosen) == "tvm-fp32"
    assert "4.00 million, against 5.00 million of tflite-fp32" in choice.reason
    assert "fp32 is predicted faster than int8" in choice.reason


def test_figures_of_both_runtimes_go_before_instructions() -> None:
    candidates = [candidate("tflite-int8", 1.0, count=3e6), candidate("tvm-int8", 1.5, count=1e6, calibrated=True)]
    assert choose(candidates, default_runtime="tflite").chosen.runtime == "tflite"


def test_where_nothing_can_be_chosen_every_reason_is_told() -> None:
    failed = [
        Candidate(runtime=runtime, precision=INT8, verified=False, obstacle=f"{runtime} is absent")
        for runtime in RUNTIMES
    ]
    with pytest.raises(VerificationError, match=r"tflite-int8: tflite is absent; onnx-int8: .*; tvm-int8: "):
        choose(failed, default_runtime="tflite")


def test_int8_that_is_slower_is_said_for_its_runtime_alone() -> None:
    slow = [candidate("tvm-int8", 3.0, measured=True), candidate("tvm-fp32", 2.0, measured=True)]
    fine = [candidate("tflite-int8", 1.0, measured=True), candidate("tflite-fp32", 2.0, measured=True)]
    (note,) = int8_notes(slow + fine)
    assert note == "int8 is slower than fp32 with tvm on this target: 3 ms against 2 ms, measured"


def test_a_measurement_is_not_compared_with_a_prediction() -> None:
    assert int8_notes([candidate("tvm-int8", 3.0, measured=True), candidate("tvm-fp32", 2.0)]) == ()

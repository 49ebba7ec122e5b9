"""Which of several files of one network is taken: a choice by evidence, and the sentence that says why.

Latencies measured on a board go before everything else. Without them, the cost model decides between precisions, and between
runtimes that it was fitted to; executed instructions of an emulated board decide between files of the same precision alone, as they
rank runtimes approximately and make int8 look too fast beside fp32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.core.errors import VerificationError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.devices.precision import Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """The network as a file of one runtime in one precision.

    `obstacle` says why it cannot be chosen, empty where it can. `is_calibrated` says whether the cost model behind a predicted
    latency was fitted to figures of this very runtime. What can be chosen is verified and has a latency.
    """

    runtime: str
    precision: Precision
    verified: bool
    obstacle: str = ""
    size_bytes: int | None = None
    latency: Quantity | None = None
    is_calibrated: bool = False
    instructions: Quantity | None = None

    def __post_init__(self) -> None:
        if self.latency is not None and self.latency.unit != "ms":
            raise ValueError(f"a latency in {self.latency.unit}")
        if self.instructions is not None and self.instructions.unit != "instructions":
            raise ValueError(f"executed instructions in {self.instructions.unit}")
        if not self.obstacle and (self.latency is None or not self.verified):
            raise ValueError(f"{self} can be chosen, and needs a latency and to be verified")

    def __str__(self) -> str:
        return f"{self.runtime}-{self.precision}"

    @property
    def latency_ms(self) -> float:
        return float("inf") if self.latency is None else self.latency.value

    @property
    def is_measured(self) -> bool:
        return self.latency is not None and self.latency.evidence is Evidence.MEASURED

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Candidate:
        quantities = {name: record[name] for name in ("latency", "instructions")}
        return cls(
            runtime=record["runtime"],
            precision=Precision(record["precision"]),
            verified=record["verified"],
            obstacle=record["obstacle"],
            size_bytes=record["size_bytes"],
            is_calibrated=record["is_calibrated"],
            **{name: None if told is None else Quantity.from_json(told) for name, told in quantities.items()},
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            "precision": self.precision.value,
            "verified": self.verified,
            "is_calibrated": self.is_calibrated,
            "obstacle": self.obstacle,
            "size_bytes": self.size_bytes,
            "latency": None if self.latency is None else self.latency.to_json(),
            "instructions": None if self.instructions is None else self.instructions.to_json(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    chosen: Candidate
    reason: str


def choose(candidates: Sequence[Candidate], *, default_runtime: str) -> Choice:
    """Of equals the device's default runtime is taken, then the first. Raises VerificationError where none can be."""
    able = sorted(
        (one for one in candidates if not one.obstacle),
        key=lambda one: (one.latency_ms, one.runtime != default_runtime),
    )
    if not able:
        reasons = "; ".join(f"{one}: {one.obstacle}" for one in candidates)
        raise VerificationError(f"no runtime can be chosen: {reasons}", hint="give a target such as rpi4:tflite")
    measured = [one for one in able if one.is_measured]
    return _by_measurement(measured) if measured else _by_prediction(able)


def int8_notes(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """A sentence for each runtime whose int8 is slower than its fp32, where both latencies are known in the same way."""
    return tuple(_slow_int8(candidates))


def _by_measurement(measured: Sequence[Candidate]) -> Choice:
    first, *others = measured
    if not others:
        return Choice(chosen=first, reason=f"{first} is the only one that was measured: {_ms(first)}.")
    second = others[0]
    scatter = ", a difference within the scatter of the runs" if _holds(first, second.latency_ms) else ""
    return Choice(
        chosen=first,
        reason=f"{first} was measured fastest: {_ms(first)}, against {_ms(second)} of {second}{scatter}.",
    )


def _by_prediction(able: Sequence[Candidate]) -> Choice:
    """The precision and the runtime of the least latency that figures of the runtime itself predict; within that precision, a
    runtime without such figures that executes fewer instructions."""
    first = next((one for one in able if one.is_calibrated), able[0])
    alike = [one for one in able if one.precision is first.precision]
    unknown = [one for one in alike if one is not first and not one.is_calibrated]
    between = _between_precisions(first, able)
    rivals = [one for one in unknown if one.instructions is not None]
    if first.instructions is None or not rivals:
        return Choice(chosen=first, reason=f"{between}{_unspoken(first, unknown)}")
    chosen = min([first, *rivals], key=_executed)
    second = min((one for one in [first, *rivals] if one is not chosen), key=_executed)
    return Choice(
        chosen=chosen,
        reason=f"{between}{chosen} executes the fewest instructions of the {chosen.precision} files: "
        f"{_executed(chosen) / 1e6:.2f} million, against {_executed(second) / 1e6:.2f} million of {second}; emulated counts rank "
        "runtimes approximately and are no latency.",
    )


def _between_precisions(first: Candidate, able: Sequence[Candidate]) -> str:
    """Why the precision is what it is, where there is another."""
    other = next((one for one in able if one.runtime == first.runtime and one.precision is not first.precision), None)
    if other is None:
        return ""
    return f"{first.precision} is predicted faster than {other.precision} ({_ms(first)} against {_ms(other)} of {first.runtime}). "


def _unspoken(first: Candidate, unknown: Sequence[Candidate]) -> str:
    reason = (
        "the least latency that figures of the runtime itself predict"
        if first.is_calibrated
        else "the device's own choice"
    )
    alike = [one.runtime for one in unknown if _holds(one, first.latency_ms)]
    others = (
        f"; nothing speaks for {' and '.join(alike)}: without figures of their own, their intervals hold {first.runtime}'s"
        if alike
        else ""
    )
    return f"{first} has {reason}{others}."


def _slow_int8(candidates: Sequence[Candidate]) -> Iterator[str]:
    for int8 in candidates:
        for fp32 in candidates:
            if (
                (int8.precision, fp32.precision) == (Precision.INT8, Precision.FP32)
                and int8.runtime == fp32.runtime
                and int8.latency is not None
                and fp32.latency is not None
                and int8.latency.evidence is fp32.latency.evidence
                and int8.latency.value > fp32.latency.value
            ):
                yield (
                    f"int8 is slower than fp32 with {int8.runtime} on this target: {_ms(int8)} against {_ms(fp32)}, "
                    f"{int8.latency.evidence}"
                )


def _holds(one: Candidate, latency_ms: float) -> bool:
    """Whether a latency lies within its interval."""
    interval = None if one.latency is None else one.latency.interval
    return interval is not None and interval[0] <= latency_ms <= interval[1]


def _executed(one: Candidate) -> float:
    return float("inf") if one.instructions is None else one.instructions.value


def _ms(one: Candidate) -> str:
    return f"{one.latency_ms:.4g} ms"

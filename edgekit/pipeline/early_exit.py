"""One build of two networks, the second of which runs only where the first is not sure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.budget import Budget
from edgekit.core.errors import InfeasibleError, UsageError
from edgekit.core.proportion import wilson_interval
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import whole_folder
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.devices.precision import Precision
from edgekit.exporters.exporter import exporter_for
from edgekit.pipeline.account import judged
from edgekit.pipeline.build_folder import write_networks, write_report
from edgekit.pipeline.calibration_pictures import calibration_pictures
from edgekit.pipeline.figures import price
from edgekit.pipeline.make import Made, make
from edgekit.pipeline.plan import BuildPlan, plan
from edgekit.pipeline.result import REPORT_SCHEMA, Figure
from edgekit.pipeline.stages import Stages
from edgekit.pipeline.variants import (
    Variant,
    gather,
    record_networks,
    size_figures,
    variant_of,
    verify_network,
)
from edgekit.report.early_exit_card import write_early_exit_card
from edgekit.tasks.task import Task

if TYPE_CHECKING:
    from edgekit.assembler.assembler import Assembler
    from edgekit.assembler.confidence import Confidence
    from edgekit.assembler.early_exit import EarlyExit
    from edgekit.exporters.check import Check
    from edgekit.exporters.early_exit import EarlyExitProgram

FIRST, LAST = "first", "last"
LARGEST_INT8_PROBABILITY = 255 / 256
"""Of a file that gives it as an integer."""

NEVER = 2.0
"""A threshold that no probability reaches."""

MIN_SAME_NETWORK = {Precision.FP32: 0.99, Precision.FP16: 0.95, Precision.INT8: 0.8}
"""Of the calibration pictures; some lie so near the threshold that rounding decides."""

_HINT = "give a probability such as 0.9: the first network's answer stands where it is as sure as that"


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyExitPlan:
    """The plan of a build, and how sure the first network must be."""

    plan: BuildPlan
    threshold: float

    def to_json(self) -> dict[str, Any]:
        return {**self.plan.to_json(), "early_exit": self.threshold}


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyExitResult:
    """A finished build; `variants` are the first network and the last. Of the `figures` those without "mean" in their name are of a
    picture that both networks see. `stages_s` are wall seconds."""

    folder: Path
    plan: EarlyExitPlan
    labels: tuple[str, ...]
    confidence: Confidence
    variants: tuple[Variant, ...]
    figures: tuple[Figure, ...]
    stages_s: Mapping[str, float]

    def figure(self, name: str) -> Quantity:
        """Raises KeyError for a figure that the report does not have."""
        return {figure.name: figure.quantity for figure in self.figures}[name]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": REPORT_SCHEMA,
            "folder": str(self.folder),
            "plan": self.plan.to_json(),
            "labels": list(self.labels),
            "early_exit": {
                "threshold": self.plan.threshold,
                "sharpness": self.confidence.sharpness,
                "calibrated_on_images": self.confidence.images,
            },
            "variants": [variant.to_json() for variant in self.variants],
            "figures": [{"name": figure.name, **figure.quantity.to_json()} for figure in self.figures],
            "stages_s": {name: round(seconds, 3) for name, seconds in self.stages_s.items()},
        }


def plan_early_exit(*, early_exit: float, budget: Budget | None = None, **inputs: Any) -> EarlyExitPlan:
    """`inputs` are those of `plan`. Raises UsageError also for what no early exit can be made of."""
    if not 0 < early_exit < 1:
        raise UsageError(f"early_exit = {early_exit:g} is not a probability between 0 and 1", hint=_HINT)
    if inputs.get("genotype") is not None:
        raise UsageError(
            "an early exit has two networks, and --genotype is one", hint="leave out --genotype or --early-exit"
        )
    if inputs.get("examples") is not None:
        raise UsageError(
            "nothing predicts how sure a network is of own classes, so no first network can be chosen",
            hint="leave out --early-exit, or ask for labels of the supernet with --task",
        )
    if budget is not None and budget.min_accuracy is not None:
        raise UsageError(
            "--min-accuracy asks for the fastest network that keeps a floor, and an early exit may fall below it",
            hint="give limits such as --latency-ms, or a floor without an early exit",
        )
    planned = plan(budget=budget, **inputs)
    gives_int8 = planned.target.precision is Precision.INT8 and not exporter_for(planned.target.runtime).float_ends
    if gives_int8 and early_exit > LARGEST_INT8_PROBABILITY:
        raise UsageError(
            f"no probability of an int8 {planned.target.runtime} file is above {LARGEST_INT8_PROBABILITY:.4f}, so none reaches "
            f"{early_exit:g}",
            hint="give a lower threshold, or an fp32 target",
        )
    return EarlyExitPlan(plan=planned, threshold=early_exit)


def build_early_exit(
    *,
    early_exit: float,
    output: Path | str,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _stage: None,
    **inputs: Any,
) -> EarlyExitResult:
    """Builds two networks into the folder `output`, with a program that calls the second where the first is less sure than
    `early_exit`: signatures of one file, or a file each where the runtime has no such switch.

    Limits hold for a picture that both networks see. `inputs` are those of `plan`; own classes and floors have no early exit.
    Raises what `build` raises, and InfeasibleError where an early exit would gain nothing.
    """
    stages = Stages(progress)
    with stages.stage("plan"):
        planned = plan_early_exit(early_exit=early_exit, **inputs)
        cost_model = load_cost_model(planned.plan.target)
        exporter_for(planned.plan.target.runtime).check_installed(planned.plan.target)
    place = Path(output)
    with whole_folder(place, overwrite=overwrite, marker="report.json") as folder:
        with stages.stage("load"):
            from edgekit.assembler.assembler import Assembler
            from edgekit.assembler.confidence import Confidence

            assembler = Assembler.load(planned.plan.model)
            confidence = Confidence.of_card(planned.plan.model.card)
            x_NHWC = calibration_pictures(planned.plan)
        found, most_bytes = _find(planned, assembler, confidence, cost_model, stages)
        made = {
            name: make(
                replace(planned.plan, budget=Budget(), genotype=assembly.genotype),
                assembler,
                cost_model,
                x_NHWC,
                folder / name,
                stages,
                sharpness=confidence.sharpness,
            )
            for name, assembly in ((FIRST, found.first), (LAST, found.last))
        }
        with stages.stage("merge"):
            gathered = gather(made, folder)
            program = _program(planned, gathered)
            program.write(folder)
        sizes = size_figures(gathered, apart_bytes=sum(one.artifact.size_bytes for one in made.values()))
        size_bytes = sizes[0].quantity.value
        if most_bytes is not None and size_bytes > most_bytes:
            raise InfeasibleError(
                f"both networks have {size_bytes} bytes, above the limit of {most_bytes:.0f}",
                hint="raise --size-bytes, or leave out --early-exit",
            )
        with stages.stage("verify"):
            verifications = {name: verify_network(one) for name, one in gathered.items()}
            checks = _check_paths(program, folder, gathered)
        with stages.stage("profile"):
            of_pictures = {name: judged(planned.plan, one, assembler) for name, one in gathered.items()}
            variants = tuple(
                variant_of(
                    name,
                    planned.plan,
                    one,
                    cost_model,
                    of_pictures[name],
                    alone_bytes=made[name].artifact.size_bytes,
                )
                for name, one in gathered.items()
            )
            share = _measured_share(planned, gathered[FIRST]) or _predicted_share(planned, found, confidence)
            figures = (*_figures(planned, found, share, variants), *sizes)
        with stages.stage("report"):
            result = EarlyExitResult(
                folder=place,
                plan=planned,
                labels=gathered[LAST].model.labels,
                confidence=confidence,
                variants=variants,
                figures=figures,
                stages_s=stages.seconds,
            )
            write_networks(folder, gathered, planned.to_json(), planned.plan, result.labels, stages)
            record = result.to_json()
            record_networks(record, planned.plan, gathered, verifications, of_pictures, cost_model, assembler)
            record["early_exit"]["checks"] = [asdict(check) for check in checks]
            write_early_exit_card(
                folder / "card.md", record, runtime=planned.plan.target.runtime, model_card=planned.plan.model.card
            )
            write_report(folder, record)
    return result


def _find(
    planned: EarlyExitPlan, assembler: Assembler, confidence: Confidence, cost_model: CostModel, stages: Stages
) -> tuple[EarlyExit, float | None]:
    """The two networks, and how many bytes both may have."""
    from edgekit.assembler.early_exit import find_early_exit

    task, target = planned.plan.task, planned.plan.target
    assert isinstance(task, Task)  # noqa: S101 - own classes were refused
    with stages.stage("assemble"):
        tables = assembler.tables(task, partial(price, cost_model, target.precision))
        budget = planned.plan.budget.resolve(tables.full)
        found = find_early_exit(
            assembler.searcher,
            task,
            budget,
            tables,
            confidence,
            threshold=planned.threshold,
            seed=planned.plan.seed,
        )
        stages.note(
            f"first {found.first.genotype}, sure of {found.share:.1%} as predicted, then {found.last.genotype}; predicted "
            f"accuracy {found.accuracy:.4f} on {task.text}"
        )
    limit = budget.size_bytes
    return found, limit if isinstance(limit, (int, float)) else None


def _program(planned: EarlyExitPlan, gathered: Mapping[str, Made]) -> EarlyExitProgram:
    from edgekit.exporters.early_exit import EarlyExitProgram, StageFile

    stages = tuple(
        StageFile(name=name, file=one.artifact.path.name, signature=one.artifact.signature)
        for name, one in gathered.items()
    )
    return EarlyExitProgram(threshold=planned.threshold, stages=stages)


def _check_paths(program: EarlyExitProgram, folder: Path, gathered: Mapping[str, Made]) -> list[Check]:
    """Every path through the program against torch picture by picture, and against the networks alone. Raises VerificationError."""
    import torch

    from edgekit.exporters.check import Check
    from edgekit.exporters.early_exit import PROGRAM, answer, sure
    from edgekit.exporters.verify import raise_on_miss
    from edgekit.supernet.early_exit import EarlyExitNetwork

    pictures = [one.calibration_NHWC for one in gathered.values()]
    precision = gathered[LAST].artifact.precision
    eager = EarlyExitNetwork(
        [one.model.module for one in gathered.values()], [x.shape[1] for x in pictures], threshold=program.threshold
    )
    largest_NHWC = max(pictures, key=lambda x_NHWC: x_NHWC.shape[1])
    with torch.inference_mode():
        _, eager_stage_N = eager(torch.from_numpy(largest_NHWC).permute(0, 3, 1, 2).contiguous())
    stages = program.load(folder)
    first, some, last = (answer(stages, pictures, threshold=limit) for limit in (0.0, program.threshold, NEVER))
    unsure_N = ~sure(first.p_NK, program.threshold)
    expected_NK = np.where(unsure_N[:, None], last.p_NK, first.p_NK)
    strays = int((first.stage_N != 0).sum() + (some.stage_N != unsure_N).sum() + (last.stage_N != 1).sum())
    same = float((some.stage_N == eager_stage_N.numpy()).mean())
    checks = [
        Check(name="pictures answered by the wrong network", value=strays, relation="==", limit=0),
        Check(
            name="difference from the networks alone",
            value=float(np.abs(some.p_NK - expected_NK).max()),
            relation="==",
            limit=0,
            detail=f"{int(unsure_N.sum())} of {len(unsure_N)} pictures reach the second",
        ),
        Check(
            name="share of pictures answered by the same network as in torch",
            value=same,
            relation=">=",
            limit=MIN_SAME_NETWORK[precision],
        ),
    ]
    raise_on_miss(f"{PROGRAM} ({precision})", checks)
    return checks


def _measured_share(planned: EarlyExitPlan, first: Made) -> Quantity | None:
    """On the user's pictures; None where there are only synthesised ones, of which small networks know little."""
    if planned.plan.data is None:
        return None
    from edgekit.exporters.early_exit import file_stage, sure

    path = first.artifact.path
    p_NK = file_stage(path, first.artifact.signature)(first.calibration_NHWC).outputs
    share = float(sure(p_NK, planned.threshold).mean())
    return Quantity(
        value=share,
        unit="fraction",
        evidence=Evidence.MEASURED,
        source=f"{len(p_NK)} pictures of {planned.plan.data}, in {path.name}, Wilson 95 %",
        interval=wilson_interval(share, len(p_NK)),
    )


def _predicted_share(planned: EarlyExitPlan, found: EarlyExit, confidence: Confidence) -> Quantity:
    calibrated = (
        f"probabilities calibrated on {confidence.images} of them"
        if confidence.images
        else "probabilities not calibrated, as the supernet's card knows no factor"
    )
    return Quantity(
        value=found.share,
        unit="fraction",
        evidence=Evidence.PREDICTED,
        source=f"difficulties of pictures in the accuracy predictor of {planned.plan.model.name}, images like those held out, "
        f"{calibrated}",
        interval=found.share_interval,
    )


def _figures(
    planned: EarlyExitPlan, found: EarlyExit, share: Quantity, variants: tuple[Variant, ...]
) -> tuple[Figure, ...]:
    first, last = variants
    assert share.interval is not None  # noqa: S101
    fewest, most = share.interval
    latencies = first.figure("latency"), last.figure("latency")
    (first_low, first_high), (last_low, last_high) = (latency.interval or (0.0, 0.0) for latency in latencies)
    both_ms = replace(
        latencies[0],
        value=latencies[0].value + latencies[1].value,
        interval=(first_low + last_low, first_high + last_high),
        source=f"a picture that both networks see; {latencies[0].source}",
    )
    mean_ms = replace(
        both_ms,
        value=latencies[0].value + (1 - share.value) * latencies[1].value,
        interval=(first_low + (1 - most) * last_low, first_high + (1 - fewest) * last_high),
        source=f"by the share that leaves early; {latencies[0].source}",
    )
    macs, rams = ([variant.figure(name) for variant in variants] for name in ("MACs", "peak RAM"))
    quantities = {
        "accuracy": Quantity(
            value=found.accuracy,
            unit="fraction",
            evidence=Evidence.PREDICTED,
            source=f"accuracy predictor of {planned.plan.model.name}, fp32, images like those held out; the last network alone: "
            f"{found.last.accuracy:.4f}",
            interval=found.accuracy_interval,
        ),
        "share that leaves early": share,
        "mean latency": mean_ms,
        "latency": both_ms,
        "mean MACs": Quantity(
            value=macs[0].value + (1 - share.value) * macs[1].value,
            unit="MACs",
            evidence=Evidence.PREDICTED,
            source="by the share that leaves early",
            interval=(macs[0].value + (1 - most) * macs[1].value, macs[0].value + (1 - fewest) * macs[1].value),
        ),
        "MACs": replace(macs[0], value=macs[0].value + macs[1].value, source="both networks"),
        "peak RAM": replace(
            rams[0], value=rams[0].value + rams[1].value, source="both networks, each with its own memory"
        ),
    }
    return tuple(Figure(name=name, quantity=quantity) for name, quantity in quantities.items())

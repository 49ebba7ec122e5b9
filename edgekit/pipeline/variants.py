"""One build for several latency limits: a file with a signature for each, whose networks share weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.budget import Budget
from edgekit.core.confusion import Confusion
from edgekit.core.errors import InfeasibleError, UsageError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import whole_folder
from edgekit.devices.cost_model import CostModel, load_cost_model
from edgekit.exporters.exporter import exporter_of
from edgekit.pipeline.account import Judged, account_of, front_of, judged
from edgekit.pipeline.build_folder import behind, verification_record, write_networks, write_report
from edgekit.pipeline.calibration_pictures import calibration_pictures
from edgekit.pipeline.examples import LearntHead
from edgekit.pipeline.figures import counted, figures_of
from edgekit.pipeline.make import Made, make
from edgekit.pipeline.plan import BuildPlan, plan
from edgekit.pipeline.result import REPORT_SCHEMA, Figure
from edgekit.pipeline.runtime_candidates import MIN_INT8_AGREEMENT
from edgekit.pipeline.stages import Stages
from edgekit.report.variants_card import write_variants_card

if TYPE_CHECKING:
    from edgekit.assembler.assembler import Assembler
    from edgekit.exporters.check import Verification

_HINT = "give latency limits such as 4,8,16ms"


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantsPlan:
    """The plan of a build and, by the variant's name, the latency limits (ms) that take turns in its budget."""

    plan: BuildPlan
    limits_ms: Mapping[str, float]

    def of(self, name: str) -> BuildPlan:
        return replace(self.plan, budget=replace(self.plan.budget, latency_ms=self.limits_ms[name]))

    def to_json(self) -> dict[str, Any]:
        return {**self.plan.to_json(), "variants": dict(self.limits_ms)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One network of the file; `name` is that of its signature, `learnt` its head for own classes, `confusion` that on labelled
    pictures."""

    name: str
    genotype: str
    image_size: int
    figures: tuple[Figure, ...]
    learnt: LearntHead | None
    confusion: Confusion | None

    def figure(self, name: str) -> Quantity:
        """Raises KeyError for a figure that the report does not have."""
        return {figure.name: figure.quantity for figure in self.figures}[name]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "genotype": self.genotype,
            "image_size": self.image_size,
            "figures": [{"name": figure.name, **figure.quantity.to_json()} for figure in self.figures],
            **({"own_classes": self.learnt.to_json()} if self.learnt else {}),
            **({"confusion": self.confusion.to_json()} if self.confusion else {}),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantsResult:
    """A finished build; `variants` begin with the fastest. `figures` are of the one file. `stages_s` are wall seconds."""

    folder: Path
    plan: VariantsPlan
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]
    figures: tuple[Figure, ...]
    stages_s: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": REPORT_SCHEMA,
            "folder": str(self.folder),
            "plan": self.plan.to_json(),
            "labels": list(self.labels),
            "variants": [variant.to_json() for variant in self.variants],
            "figures": [{"name": figure.name, **figure.quantity.to_json()} for figure in self.figures],
            "stages_s": {name: round(seconds, 3) for name, seconds in self.stages_s.items()},
        }


def parse_variants(text: str) -> dict[str, float]:
    """`4,8,16ms` or `4ms, 8ms` as limits in ms by name, the least first. Raises UsageError."""
    *_, last = items = [item.strip() for item in text.split(",")]
    if not last.endswith("ms"):
        raise UsageError(f'variants: "{text}" does not end with the unit ms', hint=_HINT)
    limits: dict[str, float] = {}
    for item in items:
        try:
            limit = float(item.removesuffix("ms"))
        except ValueError as error:
            raise UsageError(f'variants: "{item}" is not a number of ms', hint=_HINT) from error
        name = f"{limit:.12g}ms"
        if name in limits:
            raise UsageError(f"variants: {name} is given twice", hint="give each limit once")
        limits[name] = limit
    return dict(sorted(limits.items(), key=lambda named: named[1]))


def plan_variants(*, variants: str, budget: Budget | None = None, **inputs: Any) -> VariantsPlan:
    """`inputs` are those of `plan`. Raises UsageError also where the budget has a latency limit of its own."""
    if budget is not None and budget.latency_ms is not None:
        raise UsageError("--variants gives the latency limits: --latency-ms cannot be added", hint=_HINT)
    if inputs.get("genotype") is not None:
        raise UsageError(
            "variants are several networks, and --genotype is one", hint="leave out --genotype or --variants"
        )
    if inputs.get("examples") is not None:
        raise UsageError(
            "variants share one head, but own classes need one for each network", hint="build them one by one"
        )
    limits = parse_variants(variants)
    for limit in limits.values():
        Budget(latency_ms=limit)  # refuses what is no limit
    planned = plan(budget=budget, **inputs)
    if planned.target.runtime != "tflite":
        raise UsageError(
            f"{planned.target}: only TFLite has files that hold several networks",
            hint=f"ask for {planned.target.device.name}:tflite, or build the networks one by one",
        )
    return VariantsPlan(plan=planned, limits_ms=limits)


def build_variants(
    *,
    variants: str,
    output: Path | str,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _stage: None,
    **inputs: Any,
) -> VariantsResult:
    """Builds the best network for every limit of `variants`, such as `4,8,16ms`, into one file in the folder `output`.

    Each is the network that `build` makes for that latency limit, and computes the same bit for bit. `inputs` are those of
    `plan`; limits of size, memory and accuracy hold for each network alone. Raises what `build` raises, and UsageError for
    a wrong list; an InfeasibleError names the variant.
    """
    stages = Stages(progress)
    with stages.stage("plan"):
        planned = plan_variants(variants=variants, **inputs)
        cost_model = load_cost_model(planned.plan.target)
    place = Path(output)
    with whole_folder(place, overwrite=overwrite, marker="report.json") as folder:
        with stages.stage("load"):
            from edgekit.assembler.assembler import Assembler

            assembler = Assembler.load(planned.plan.model)
        made = _make_all(planned, assembler, cost_model, folder, stages)
        with stages.stage("merge"):
            gathered = gather(made, folder)
        with stages.stage("verify"):
            verifications = {name: verify_network(one) for name, one in gathered.items()}
        with stages.stage("profile"):
            of_pictures = {name: judged(planned.plan, one, assembler) for name, one in gathered.items()}
            found = tuple(
                variant_of(
                    name,
                    planned.of(name),
                    one,
                    cost_model,
                    of_pictures[name],
                    alone_bytes=made[name].artifact.size_bytes,
                )
                for name, one in gathered.items()
            )
            figures = size_figures(gathered, apart_bytes=sum(one.artifact.size_bytes for one in made.values()))
        with stages.stage("report"):
            result = VariantsResult(
                folder=place,
                plan=planned,
                labels=next(iter(made.values())).model.labels,
                variants=found,
                figures=figures,
                stages_s=stages.seconds,
            )
            write_networks(folder, gathered, planned.to_json(), planned.plan, result.labels, stages)
            record = result.to_json()
            record_networks(record, planned.plan, gathered, verifications, of_pictures, cost_model, assembler)
            write_variants_card(folder / "card.md", record, model_card=planned.plan.model.card)
            write_report(folder, record)
    return result


def _make_all(
    planned: VariantsPlan, assembler: Assembler, cost_model: CostModel, folder: Path, stages: Stages
) -> dict[str, Made]:
    """By name, each with its own file in a folder of its name."""
    with stages.stage("load"):
        x_NHWC = calibration_pictures(planned.plan)
    made = {}
    for name in planned.limits_ms:
        try:
            made[name] = make(planned.of(name), assembler, cost_model, x_NHWC, folder / name, stages, prunes=False)
        except InfeasibleError as error:
            raise InfeasibleError(f"variant {name}: {error.message}", hint=error.hint) from error
    return made


def gather(made: Mapping[str, Made], folder: Path) -> dict[str, Made]:
    """Each in its place in the build folder; programs that ask for none get the last, the slowest and best."""
    artifacts = {name: one.artifact for name, one in made.items()}
    exporter = exporter_of(next(iter(artifacts.values())).path)
    return {
        name: replace(made[name], artifact=artifact) for name, artifact in exporter.gather(artifacts, folder).items()
    }


def verify_network(made: Made) -> Verification:
    """Raises VerificationError."""
    from edgekit.exporters.verify import verify

    return verify(made.model, made.artifact, made.calibration_NHWC, min_agreement=MIN_INT8_AGREEMENT)


def record_networks(
    record: dict[str, Any],
    planned: BuildPlan,
    networks: Mapping[str, Made],
    verifications: Mapping[str, Verification],
    of_pictures: Mapping[str, Judged | None],
    cost_model: CostModel,
    assembler: Assembler,
) -> None:
    """Puts into the record of a build what there is to tell of each of its networks, and what else could have been built."""
    for variant in record["variants"]:
        name = variant["name"]
        made, passed = networks[name], verifications[name]
        account = account_of(planned, made, cost_model, assembler, passed, of_pictures[name])
        variant |= {"verification": verification_record(passed, made), **account.to_json()}
    first, *_ = networks.values()
    record |= behind(planned, front_of(planned, first.task, [*networks.values()], cost_model, assembler))


def variant_of(
    name: str, planned: BuildPlan, made: Made, cost_model: CostModel, of_pictures: Judged | None, *, alone_bytes: int
) -> Variant:
    measured = of_pictures.accuracy if of_pictures else None
    figures = [
        figure
        for figure in figures_of(planned, made, cost_model, measured=measured)
        if not figure.name.startswith("size")
    ]
    alone = counted(alone_bytes, "bytes", "a file of this variant alone")
    return Variant(
        name=name,
        genotype=str(made.assembly.genotype),
        image_size=made.model.input_shape[1],
        figures=(*figures, Figure(name="size alone", quantity=alone)),
        learnt=made.learnt,
        confusion=of_pictures.confusion if of_pictures else None,
    )


def size_figures(gathered: Mapping[str, Made], *, apart_bytes: int) -> tuple[Figure, ...]:
    """Of all networks together, and of what one file for all saves against `apart_bytes`, a file for each."""
    sizes = {one.artifact.path.name: one.artifact.size_bytes for one in gathered.values()}
    together = sum(sizes.values())
    quantities = {"size": counted(together, "bytes", " and ".join(sizes))}
    if len(sizes) < len(gathered):
        quantities |= {
            "size apart": counted(apart_bytes, "bytes", "a file for each variant"),
            "size saved": Quantity(
                value=1 - together / apart_bytes,
                unit="fraction",
                evidence=Evidence.MEASURED,
                source="1 - size / size apart",
            ),
        }
    return tuple(Figure(name=name, quantity=quantity) for name, quantity in quantities.items())

"""A whole swap: plan, arrange, fit layer by layer, recalibrate, distil; with the account of it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from edgekit.core.model import Model
from edgekit.networks.description import describe
from edgekit.networks.layers import recalibrate, run
from edgekit.passes.contract import Context, LayerRow, PassResult
from edgekit.passes.distillation import Distil
from edgekit.passes.ghost_arrangement import Fitting, arrange, pair_errors
from edgekit.passes.ghost_cascade import Cascade, Form, Swapped
from edgekit.passes.ghost_plan import Candidate, Planner
from edgekit.passes.graph_module import graph_of
from edgekit.passes.graph_reading import tidied
from edgekit.passes.masks import surviving
from edgekit.passes.shortcut_padding import pads_as_convolutions

_BATCH = 64
_PLACES = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class Swapping:
    """The options of a swap, as the passes have them."""

    pass_id: str
    forms: Collection[Form]
    ratio: int
    kernel: int
    max_residual: float
    ridge: float | None
    images: int
    epochs: int

    def __call__(self, model: Model, context: Context) -> PassResult:
        original = copy.deepcopy(graph_of(model, self.pass_id))
        padded = pads_as_convolutions(original, model.input_shape)
        planner = Planner(original, model.input_shape, context.latency_ms, self.ratio, self.kernel)
        candidates = {name: one for name, one in planner.candidates(self.forms).items() if name not in padded}
        if not any(_touches(one, padded) for one in candidates.values()):
            original, padded = copy.deepcopy(graph_of(model, self.pass_id)), []
        context.progress(f"{sum(not one.reason for one in candidates.values())} convolutions would be faster")
        module, masks = copy.deepcopy(original), dict(model.masks)
        outcomes = self._swap(module, original, masks, candidates, context)
        rows = tuple(_row(one, outcomes.get(one.name)) for one in candidates.values())
        swapped = sum(outcome.swapped for outcome in outcomes.values())
        if not swapped:
            return PassResult(model=model, modified=False, layers=rows, notes=("No convolution was swapped.",))
        notes = [f"{swapped} of {len(candidates)} convolutions were swapped."]
        if padded:
            notes.append(f"Padding of {len(padded)} shortcuts became a fixed 1x1 convolution each.")
        notes.append(_recalibrated(module, model, context))
        result = replace(
            model,
            module=module,
            operators=describe(module, model.input_shape).operators,
            masks=surviving(masks, module),
        )
        if self.epochs:
            taught = Distil(epochs=self.epochs)(result, context)
            result, notes = taught.model, [*notes, *taught.notes]
        return PassResult(model=result, modified=True, layers=rows, notes=tuple(notes))

    def _swap(
        self,
        module: fx.GraphModule,
        original: fx.GraphModule,
        masks: dict[str, Tensor],
        candidates: Mapping[str, Candidate],
        context: Context,
    ) -> dict[str, Swapped]:
        chosen = {name: one for name, one in candidates.items() if not one.reason}
        if not chosen:
            return {}
        groups = {name: one.group for name, one in chosen.items() if one.group is not None}
        fitting = Fitting(
            x_batches=torch.split(context.calibration.x_N[: self.images], _BATCH),
            kernel=self.kernel,
            places=_PLACES,
            seed=context.seed,
        )
        errors = pair_errors(module, list(chosen), fitting)
        arrange([module, original], masks, list(groups.values()), errors, self.ratio)
        cascade = Cascade(
            module=module,
            original=original,
            masks=masks,
            groups=groups,
            fitting=fitting,
            ratio=self.ratio,
            max_residual=self.max_residual,
            ridge=self.ridge,
        )
        forms = {name: one.form for name, one in chosen.items() if one.form is not None}
        outcomes = cascade.run(forms, lambda: context.late)
        tidied(module)
        return outcomes


def _touches(candidate: Candidate, layers: Collection[str]) -> bool:
    """Whether swapping it reorders what one of the layers writes or reads."""
    group = candidate.group
    return not candidate.reason and group is not None and not group.writers.union(group.readers).isdisjoint(layers)


def _recalibrated(module: nn.Module, model: Model, context: Context) -> str:
    """Measures the statistics of normalisation anew, and keeps them if that brings the outputs nearer to those of before."""
    x_N = context.calibration.x_N
    size = min(len(x_N), 256)
    before = copy.deepcopy(module.state_dict())
    wanted_N = run(model.module, context.judging.x_N)
    missed = _distance(module, context, wanted_N)
    recalibrate(module, torch.split(x_N[: len(x_N) // size * size], size))
    if _distance(module, context, wanted_N) <= missed:
        return "Normalisation was recalibrated."
    module.load_state_dict(before)
    return "Normalisation keeps its statistics: recalibrated, outputs were further from those of before."


def _distance(module: nn.Module, context: Context, wanted_N: Tensor) -> float:
    return float((run(module, context.judging.x_N) - wanted_N).square().mean())


def _row(candidate: Candidate, outcome: Swapped | None) -> LayerRow:
    before, after, form = candidate.before, candidate.after, candidate.form
    cells: dict[str, float | str] = {
        "swapped": str(form) if outcome is not None and outcome.swapped and form else "no",
        "residual variance": outcome.residual if outcome else "",
        "MACs before": before.macs if before else "",
        "MACs after": after.macs if after else "",
        "ms before": before.ms if before else "",
        "ms after": after.ms if after else "",
        "why not": candidate.reason or _why_not(outcome),
    }
    return LayerRow(layer=candidate.name, cells=cells)


def _why_not(outcome: Swapped | None) -> str:
    if outcome is None:
        return "the time was up"
    return "" if outcome.swapped else "its ghosts would miss too much"

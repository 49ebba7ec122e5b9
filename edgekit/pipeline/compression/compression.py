"""Runs a recipe or finds one, and finishes the file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.core.budget import Budget, Share
from edgekit.core.errors import EdgekitError, InfeasibleError, VerificationError
from edgekit.devices.precision import Precision
from edgekit.devices.size import fixed_size_bytes
from edgekit.exporters.exporter import exporter_for
from edgekit.passes.registry import make_pass
from edgekit.pipeline.compression.account import Accountant, Row, judged, speaks_of_speed
from edgekit.pipeline.compression.plan import SEARCHED_DROP, CompressionPlan
from edgekit.pipeline.compression.recipe import Recipe, text_of
from edgekit.pipeline.stages import Stages

if TYPE_CHECKING:
    from edgekit.core.model import Model
    from edgekit.passes.contract import Context, Pass, PassResult
    from edgekit.passes.judgement import Judgement
    from edgekit.pipeline.compression.data import Data
    from edgekit.pipeline.compression.finish import Finished
    from edgekit.pipeline.compression.search import Candidate, Trial

ORIGINAL: Final = "original"


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    recipe: Recipe
    rows: tuple[Row, ...]
    trials: tuple[Trial, ...]
    refusals: dict[str, str]
    notes: tuple[str, ...]
    finished: Finished


class Compression:
    """Runs a recipe or finds one, and finishes the file."""

    def __init__(
        self,
        planned: CompressionPlan,
        original: Model,
        data: Data,
        accountant: Accountant,
        stages: Stages,
        kept: Path,
        clock: Callable[[], float],
    ) -> None:
        self.planned, self.original, self.data = planned, original, data
        self.accountant, self.stages = accountant, stages
        self.context = self._context(kept, clock)

    def _context(self, kept: Path, clock: Callable[[], float]) -> Context:
        from edgekit.passes.contract import Context
        from edgekit.passes.picture_augmentation import picture_augmentation

        cost_model = self.accountant.cost_models[self.planned.target.precision]
        preprocessing = self.original.preprocessing
        return Context(
            original=self.original,
            target=self.planned.target,
            latency_ms=cost_model.latency_ms,
            calibration=self.data.calibration,
            judging=self.data.judging,
            training=self.data.training,
            augment=None if preprocessing is None else picture_augmentation(preprocessing, mirror=self.planned.mirror),
            seed=self.planned.seed,
            clock=clock,
            folder=kept,
            progress=self.stages.tell,
        )

    def make(self, folder: Path) -> Made:
        if self.planned.recipe is not None:
            return self._by_recipe(self._for_precision(self.planned.recipe), folder)
        return self._by_search(folder)

    def _for_precision(self, recipe: Recipe) -> Recipe:
        """The target's precision is part of what was asked for."""
        quantized = any(one.id.startswith("quant::") for one in recipe.passes)
        if quantized or self.planned.target.precision is not Precision.INT8:
            return recipe
        return recipe.then(make_pass(exporter_for(self.planned.target.runtime).quantizers[0], {}))

    def _by_recipe(self, recipe: Recipe, folder: Path) -> Made:
        rows = [self.accountant.row(self.original, ORIGINAL)]
        model = self._onwards(self.original, rows, recipe.passes)
        finished = self._finish(model, folder)
        drop = self._drop(rows[0], finished)
        if broken := self._broken(rows[0], finished):
            raise InfeasibleError(
                f"the recipe does not keep {', '.join(broken)}",
                hint="leave out --recipe and --pass to have one searched, or prune more",
            )
        if self.planned.max_drop is not None and drop > self.planned.max_drop:
            raise VerificationError(
                f"the recipe loses {drop:.2f} points ({finished.judgement}), at most {self.planned.max_drop:g} were allowed",
                hint="leave out --recipe and --pass to have one searched, or give gentler options",
            )
        return Made(recipe=recipe, rows=tuple(rows), trials=(), refusals={}, notes=(), finished=finished)

    def _onwards(self, model: Model, rows: list[Row], passes: Sequence[Pass]) -> Model:
        """The model after the passes; `rows` grow by one for each."""
        for one in passes:
            with self.stages.stage(one.id):
                started = time.monotonic()
                result = self._apply(one, model, rows)
                so_far = ", ".join([*(row.step for row in rows[1:]), text_of(one)])
                model = replace(result.model, provenance={**self.original.provenance, "passes": so_far})
                row = self.accountant.row(model, text_of(one), seconds=time.monotonic() - started, result=result)
                rows.append(replace(row, notes=(*row.notes, *speaks_of_speed(rows[-1], row))))
        return model

    def _apply(self, one: Pass, model: Model, rows: Sequence[Row]) -> PassResult:
        try:
            return one(model, self.context)
        except EdgekitError as error:
            before = ", ".join(row.step for row in rows[1:]) or "no other pass"
            raise type(error)(f"{one.id} (after {before}): {error.message}", hint=error.hint) from error

    def _by_search(self, folder: Path) -> Made:
        from edgekit.pipeline.compression.search import RecipeSearch

        self._check_possible()
        floor = SEARCHED_DROP if self.planned.max_drop is None else self.planned.max_drop
        with self.stages.stage("search"):
            search = RecipeSearch(
                self.original,
                self.context,
                judge=self._judging(),
                max_drop=floor,
                deadline=self.context.clock() + 60 * self.planned.minutes,
            )
            search.run()
        tried = []
        for candidate in reversed(search.found):
            recipe = self._for_precision(candidate.recipe.then(make_pass("fold::batch_norm", {})))
            rows, finished = self._finished(candidate, recipe, folder)
            drop = self._drop(rows[0], finished)
            tried.append(f"{candidate.recipe}: {drop:.2f} points lost")
            if drop <= floor and not self._broken(rows[0], finished):
                looks = (
                    f"the evaluation inputs refused {len(tried) - 1} faster candidates of the search"
                    if len(tried) > 1
                    else "the evaluation inputs were looked at once, after the search"
                )
                return Made(
                    recipe=recipe,
                    rows=rows,
                    trials=tuple(search.trials),
                    refusals=search.refusals,
                    notes=(looks,),
                    finished=finished,
                )
        raise InfeasibleError(
            f"no recipe within the budget loses at most {floor:g} points; tried: {'; '.join(tried)}",
            hint="give more --minutes, more --data, a larger --max-accuracy-drop, or an fp32 target",
        )

    def _check_possible(self) -> None:
        """Raises InfeasibleError, before anything is searched, where no network at all keeps a limit."""
        precision = self.planned.target.precision
        least = {
            "latency_ms": self.accountant.cost_models[precision].overhead_ms,
            "size_bytes": fixed_size_bytes(precision, self.planned.target.runtime),
        }
        for name, value in least.items():
            limit = getattr(self.planned.budget, name)
            if isinstance(limit, (int, float)) and limit <= value:
                raise InfeasibleError(
                    f"no network keeps {name} {limit:g}: even an empty one needs {value:.4g}", hint="raise the limit"
                )

    def _judging(self) -> Callable[[Model], Judgement]:
        from edgekit.networks.layers import run

        judging = self.data.judging
        reference = run(self.original.module, judging.x_N)
        return lambda model: judged(model, judging, reference)

    def _finished(self, candidate: Candidate, recipe: Recipe, folder: Path) -> tuple[tuple[Row, ...], Finished]:
        """The candidate is at hand: of the recipe only what comes after it runs."""
        rows = []
        for made in candidate.history:
            step = text_of(made.recipe.passes[-1]) if made.recipe.passes else ORIGINAL
            rows.append(self.accountant.row(made.model, step, result=made.result))
        model = self._onwards(candidate.model, rows, recipe.passes[len(candidate.recipe.passes) :])
        return tuple(rows), self._finish(model, folder)

    def _finish(self, model: Model, folder: Path) -> Finished:
        with self.stages.stage("export"):
            from edgekit.pipeline.compression.finish import finish

            return finish(model, self.planned.target, self.data.calibration, self.accountant, folder)

    def _drop(self, first: Row, finished: Finished) -> float:
        return 100 * (first.judgement.value - finished.judgement.value)

    def _broken(self, first: Row, finished: Finished) -> list[str]:
        """The limits that the file does not keep; a share is one of the original."""
        costs = {
            "latency_ms": (
                self.accountant.latency(finished.model, finished.model.operators).value,
                first.latency.value,
            ),
            "size_bytes": (finished.artifact.size_bytes, first.size_bytes),
            "macs": (sum(one.macs for one in finished.model.operators), first.macs),
        }
        budget: Budget = self.planned.budget
        limits = {name: getattr(budget, name) for name in costs}
        return [
            name
            for name, limit in limits.items()
            if limit is not None
            and costs[name][0] > (limit.fraction * costs[name][1] if isinstance(limit, Share) else limit)
        ]

"""Finds a recipe: what each pass costs alone, then ever smaller networks, each trained for a slice of the time, as long as the
floor is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from edgekit.core.errors import EdgekitError
from edgekit.passes.registry import make_pass
from edgekit.pipeline.compression.recipe import Recipe

if TYPE_CHECKING:
    from edgekit.core.model import Model
    from edgekit.passes.contract import Context, Pass, PassResult
    from edgekit.passes.judgement import Judgement

# Of the time, for each training; the rest of the last slice is for export and quantization.
SLICES: Final = 12
FIRST_STEP, SMALLEST_STEP = 0.6, 0.93
SENSITIVITY_SHARE = 0.8
# A swap or a cut that saves less than this is not worth its risk.
LEAST_SAVING = 0.02
# What quantization may still cost.
FLOOR_FOR_STRUCTURE = 0.7
NEAR = 2.0
PROBE_EPOCHS = 0.2
ALLOCATIONS = ("ranking", "measured")
_SWAPS = ("swap::repghost", "swap::ghost")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A model, how it came about, and what it is worth: `judgement` on the inputs to decide by, `latency_ms` on the target.

    `before` is the candidate that the last pass of `recipe` was applied to, and `result` what that pass had to say.
    """

    recipe: Recipe
    model: Model = field(repr=False)
    judgement: Judgement
    latency_ms: float
    macs: int
    before: Candidate | None = field(default=None, repr=False)
    result: PassResult | None = field(default=None, repr=False)

    @property
    def history(self) -> tuple[Candidate, ...]:
        """The original, then the model after each pass."""
        return (*self.before.history, self) if self.before else (self,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One line of the search: `kept` says whether the floor was, by `added` passes on what trial number `start` had come to (0: the
    original)."""

    start: int
    added: str
    recipe: str
    judgement: Judgement
    drop_points: float
    latency_ms: float
    macs: int
    kept: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "added": self.added,
            "recipe": self.recipe,
            "judgement": self.judgement.to_json(),
            "drop_points": self.drop_points,
            "latency_ms": self.latency_ms,
            "macs": self.macs,
            "kept": self.kept,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Seconds of a training: a fixed part, and a part for each epoch."""

    fixed_s: float
    epoch_s: float

    @classmethod
    def between(cls, one: tuple[float, float], other: tuple[float, float]) -> Speed:
        """From the (epochs, seconds) of two trainings, the second longer."""
        epoch_s = max((other[1] - one[1]) / (other[0] - one[0]), 0.1 * other[1] / other[0])
        return cls(fixed_s=max(0.0, one[1] - epoch_s * one[0]), epoch_s=epoch_s)

    def after(self, epochs: float, seconds: float) -> Speed:
        """Corrected by another training."""
        return replace(self, epoch_s=max(seconds - self.fixed_s, 0.1 * seconds) / epochs)

    def epochs_in(self, seconds: float) -> float:
        return max(round((seconds - self.fixed_s) / self.epoch_s, 2), 0.02)


class RecipeSearch:
    """`found` are the candidates that keep the floor, the original first and the fastest last: at any moment the best so far.

    `judge` rates a model on the inputs to decide by; `max_drop` is in points of it. Nothing runs past `deadline`, a time
    of the context's clock. `allocation` is how cuts are allotted to layers.
    """

    def __init__(
        self,
        original: Model,
        context: Context,
        *,
        judge: Callable[[Model], Judgement],
        max_drop: float,
        deadline: float,
    ) -> None:
        self.context, self.judge, self.deadline = context, judge, deadline
        self.max_drop = max_drop * FLOOR_FOR_STRUCTURE
        self._began = self.context.clock()
        self.slice_s = (deadline - self._began) / SLICES
        self.allocation = ALLOCATIONS[0]
        self._speed: Speed | None = None
        self.trials: list[Trial] = []
        self.refusals: dict[str, str] = {}
        start = self._candidate(Recipe(passes=()), original)
        self.found = [start]
        self.full = start.judgement.value

    def run(self) -> None:
        start = self.found[0]
        cut = self._gentlest_cut(start)
        swaps = [swapped for swap in _SWAPS if (swapped := self._sensitivity(start, make_pass(swap, {}))) is not None]
        if cut is not None and swaps and self._rate(swaps) < self._rate([cut]):
            self._accept(self._trained(min(swaps, key=lambda swapped: swapped.latency_ms)))
        self.descend()

    def descend(self, *, step: float = FIRST_STEP) -> None:
        """From the fastest network found so far to smaller ones; `step` is the share of its MACs that the first cut leaves."""
        while self._time_left() > self.slice_s:
            if step > SMALLEST_STEP:  # longer trainings may keep what shorter ones lost
                self.slice_s, step = 2 * self.slice_s, FIRST_STEP
                continue
            smaller = self._apply(self.found[-1], self._cut(self.found[-1], step))
            if smaller is None or not self._accept(self._trained(smaller)):
                step = math.sqrt(step)

    def _gentlest_cut(self, start: Candidate) -> Candidate | None:
        """Cuts of both ways to allot them, the same share; the better way is used from then on. The second is much slower, and
        left out where already the first takes long."""
        cuts = {}
        for allocation in ALLOCATIONS:
            if self.context.clock() - self._began > self.slice_s / 2:
                break
            self.allocation = allocation
            cut = self._sensitivity(start, self._cut(start, SENSITIVITY_SHARE))
            if cut is not None:
                cuts[allocation] = cut
        if not cuts:
            return None
        self.allocation = max(cuts, key=lambda allocation: cuts[allocation].judgement.value)
        return cuts[self.allocation]

    def _rate(self, candidates: Sequence[Candidate]) -> float:
        """Points lost for each halving of the latency, at the least."""
        start = self.found[0]
        return min(
            max(self._drop(one), 0.0) / max(math.log2(start.latency_ms / one.latency_ms), 1e-9) for one in candidates
        )

    def _sensitivity(self, start: Candidate, one: Pass) -> Candidate | None:
        """What the pass does without training; None where it cannot be applied, or saves next to nothing."""
        changed = self._apply(start, one)
        if changed is None:
            return None
        self._note(changed, start, kept=self._drop(changed) <= self.max_drop)
        return changed if changed.latency_ms < start.latency_ms * (1 - LEAST_SAVING) else None

    def _trained(self, candidate: Candidate) -> Candidate:
        """After one slice of training, or three where one was not enough; seven, where three came near."""
        trained = candidate
        for slices in (1, 2, 4):
            near = NEAR if slices == 4 else math.inf
            if trained is not candidate and not self.max_drop < self._drop(trained) <= near * self.max_drop:
                break
            epochs = self._epochs(slices)
            began = self.context.clock()
            after = self._apply(trained, make_pass("train::distil", {"epochs": epochs}))
            self._speed = self._speed and self._speed.after(epochs, self.context.clock() - began)
            trained = after or trained
        return trained

    def _epochs(self, slices: int) -> float:
        """As many as fit into the slices, by what trainings before have taken."""
        if self._speed is None:
            self._speed = Speed.between(self._probed(PROBE_EPOCHS), self._probed(3 * PROBE_EPOCHS))
        seconds = min(slices * self.slice_s, self._time_left() - self.slice_s / 2)
        return self._speed.epochs_in(seconds)

    def _probed(self, epochs: float) -> tuple[float, float]:
        """The epochs and the seconds of a training whose result nobody wants."""
        began = self.context.clock()
        make_pass("train::distil", {"epochs": epochs})(self.found[0].model, self._context(folder=False))
        return epochs, self.context.clock() - began

    def _accept(self, candidate: Candidate) -> bool:
        kept = self._drop(candidate) <= self.max_drop and candidate.latency_ms < self.found[-1].latency_ms
        self._note(candidate, self.found[-1], kept=kept)
        if kept:
            self.found.append(candidate)
        return kept

    def _apply(self, candidate: Candidate, one: Pass) -> Candidate | None:
        """None where the pass cannot be applied; why is told in `refusals`."""
        self.context.progress(f"{candidate.recipe.then(one)}")
        try:
            result = one(candidate.model, self._context())
        except EdgekitError as error:
            self.refusals[one.id] = error.message
            return None
        if not result.modified:
            return candidate if one.id == "train::distil" else None
        return self._candidate(candidate.recipe.then(one), result.model, candidate, result)

    def _candidate(
        self, recipe: Recipe, model: Model, before: Candidate | None = None, result: PassResult | None = None
    ) -> Candidate:
        return Candidate(
            recipe=recipe,
            model=model,
            judgement=self.judge(model),
            latency_ms=self.context.latency_ms(model.operators),
            macs=sum(one.macs for one in model.operators),
            before=before,
            result=result,
        )

    def _context(self, *, folder: bool = True) -> Context:
        return replace(self.context, deadline=self.deadline, folder=self.context.folder if folder else None)

    def _cut(self, candidate: Candidate, share: float) -> Pass:
        """To a share of the candidate's MACs; the pass counts them from the original's."""
        of_original = share * candidate.macs / self.found[0].macs
        return make_pass("prune::channels", {"macs_share": round(of_original, 4), "allocation": self.allocation})

    def _drop(self, candidate: Candidate) -> float:
        return 100 * (self.full - candidate.judgement.value)

    def _time_left(self) -> float:
        return self.deadline - self.context.clock()

    def _note(self, candidate: Candidate, start: Candidate, *, kept: bool) -> None:
        numbers = [trial.recipe for trial in self.trials]
        self.trials.append(
            Trial(
                start=1 + numbers.index(str(start.recipe)) if str(start.recipe) in numbers else 0,
                added=str(Recipe(passes=candidate.recipe.passes[len(start.recipe.passes) :])),
                recipe=str(candidate.recipe),
                judgement=candidate.judgement,
                drop_points=self._drop(candidate),
                latency_ms=candidate.latency_ms,
                macs=candidate.macs,
                kept=kept,
                seconds=self.context.clock() - self._began,
            )
        )

"""The training of a student by its teacher: masks kept, judged as it goes, resumable."""

from __future__ import annotations

import copy
import hashlib
import math
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.training.augmentation import Mixture, mix
from edgekit.assembler.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from edgekit.assembler.training.optimizers import OptimizerKind, Optimizers
from edgekit.core.model import Model
from edgekit.networks.layers import batches, layers_of, recalibrate, run, watching
from edgekit.passes.contract import Context, Samples
from edgekit.passes.teacher_likeness import Likeness, OutputKind, normalised_mse

if TYPE_CHECKING:
    from edgekit.passes.distillation import Distil

JUDGED_TIMES, CHECKPOINT_SECONDS, WARM_UP = 20, 60.0, 0.05
RECALIBRATED_ON, JUDGED_BATCH = 1024, 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    module: nn.Module
    modified: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """Layers whose outputs have as many channels in student and teacher: the module that ends each, in either."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]

    @classmethod
    def between(cls, student: nn.Module, teacher: nn.Module) -> Matched:
        if not (isinstance(student, fx.GraphModule) and isinstance(teacher, fx.GraphModule)):
            return cls(student=(), teacher=())
        theirs = {layer.name: layer for layer in layers_of(teacher) if isinstance(layer.module, nn.Conv2d)}
        pairs = [
            (layer.batch_norm or layer.name, theirs[layer.name].batch_norm or layer.name)
            for layer in layers_of(student)
            if layer.name in theirs and len(layer.module.weight) == len(theirs[layer.name].module.weight)
        ]
        return cls(student=tuple(one for one, _ in pairs), teacher=tuple(other for _, other in pairs))


class Distillation:
    """One training; it goes on from its checkpoint in `context.folder` if there is one.

    Student and teacher see the same changed and mixed inputs (arXiv 2106.05237). The student's normalisation uses the batch in
    training; what is judged has statistics measured anew on training inputs as they are. The best of all that was judged is
    the outcome, the model as it was given among them.
    """

    def __init__(self, model: Model, training: Samples, context: Context, options: Distil) -> None:
        self.given, self.training, self.context, self.options = model, training, context, options
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.teacher = copy.deepcopy(context.original.module).to(self.device).eval().requires_grad_(False)
        self.student = copy.deepcopy(model.module).to(self.device).requires_grad_(True)
        self.average = copy.deepcopy(self.student) if options.average else self.student
        self.best = copy.deepcopy(model.module).to(self.device)
        self.masks = [
            (dict(self.student.named_parameters())[name], mask.to(self.device)) for name, mask in model.masks.items()
        ]
        self.matched = (
            Matched.between(self.student, self.teacher) if options.features else Matched(student=(), teacher=())
        )
        self.batch = min(options.batch, len(self.training)) // 2 * 2
        self.steps = max(1, round(options.epochs * len(self.training) / self.batch))
        self.optimizers = Optimizers(self.student.parameters(), OptimizerKind.ADAMW, weight_decay=options.weight_decay)
        self.generator = torch.Generator().manual_seed(context.seed)
        self.rng = np.random.default_rng(context.seed)
        self.judging_x_N = context.judging.x_N.to(self.device)
        self.judging_y_N = None if context.judging.y_N is None else context.judging.y_N.to(self.device)
        self.taught_N = run(self.teacher, self.judging_x_N)
        labelled = self.training.y_N is not None or context.judging.y_N is not None
        kind = OutputKind.of(self.taught_N, classifier=labelled or bool(model.labels))
        self.likeness = Likeness(kind=kind, temperature=options.temperature)
        self.clean_N = _some(self.training, context.seed).to(self.device)

    @property
    def state(self) -> TrainingState:
        modules = {"student": self.student, "best": self.best}
        if self.options.average:
            modules["average"] = self.average
        return TrainingState(modules=modules, optimizers=self.optimizers.each, images=self.generator, tasks=self.rng)

    def run(self) -> Outcome:
        clock = self.context.clock
        started, checkpoint = clock(), self._checkpoint()
        at_start = best_score = self._score(self.best)
        step, before = 0, 0.0
        if checkpoint is not None and checkpoint.exists():
            step, before = load_checkpoint(checkpoint, self.state)
            best_score = self._score(self.best)
        resumed, saved, judging_s = step, clock(), 0.0

        def keep() -> None:
            if checkpoint is not None:
                save_checkpoint(checkpoint, self.state, step=step, seconds=before + clock() - started)

        every = self._steps_between_judgements()
        while step < self.steps:
            if self.context.deadline is not None and clock() + judging_s >= self.context.deadline:
                break
            self._learn(step)
            step += 1
            if step % every == 0 or step == self.steps:
                judging_began = clock()
                best_score = self._judge(best_score)
                judging_s = clock() - judging_began
                self.context.progress(f"step {step} of {self.steps}: {self._in_words(best_score)}")
            if clock() - saved > CHECKPOINT_SECONDS:
                keep()
                saved = clock()
        keep()
        if resumed < step < self.steps:
            best_score = self._judge(best_score)
        return self._outcome(step, at_start, best_score, before + clock() - started)

    def _steps_between_judgements(self) -> int:
        """So that judging, all of it forward, takes about a quarter of the time at most; a count, so that runs can be repeated."""
        return max(self.steps // JUDGED_TIMES, math.ceil((len(self.judging_x_N) + len(self.clean_N)) / self.batch))

    def _learn(self, step: int) -> None:
        x_N, labels_N, mixture = self._draw()
        seen: dict[str, Tensor] = {}
        taught: dict[str, Tensor] = {}
        self.student.train()
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"),
            torch.random.fork_rng(devices=[]),
            ExitStack() as stack,
        ):
            torch.manual_seed(int(self.rng.integers(2**62)))  # for layers that draw, such as dropout
            stack.enter_context(_remembering(self.student, self.matched.student, seen))
            stack.enter_context(_remembering(self.teacher, self.matched.teacher, taught))
            y_N = self.student(x_N).float()
            with torch.no_grad():
                teacher_N = self.teacher(x_N).float()
        loss = self.likeness.loss(y_N, teacher_N)
        if labels_N is not None and self.options.label_weight:
            loss = torch.lerp(loss, self._label_loss(y_N, labels_N, mixture), self.options.label_weight)
        if seen:
            pairs = zip(self.matched.student, self.matched.teacher, strict=True)
            apart = [normalised_mse(seen[one].float(), taught[other].float()) for one, other in pairs]
            loss = loss + self.options.features * torch.stack(apart).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers.step(learning_rate=self.options.learning_rate * _schedule(step / self.steps))
        with torch.no_grad():
            for weight, mask in self.masks:
                weight.masked_fill_(~mask, 0.0)
            if self.options.average:
                self._follow(step)

    def _draw(self) -> tuple[Tensor, Tensor | None, Mixture]:
        chosen = torch.randperm(len(self.training), generator=self.generator)[: self.batch]
        x_N = self.training.x_N[chosen].to(self.device)
        labels_N = None
        if self.training.y_N is not None and self.likeness.kind is not OutputKind.TENSOR:
            labels_N = self.training.y_N[chosen].to(self.device)
        if self.context.augment is not None:
            x_N = self.context.augment(x_N, self.generator)
        mixed, kind, share, across, down = self.rng.random(5)
        if mixed >= self.options.mix:
            return x_N, labels_N, Mixture()
        patched = kind if x_N.ndim == 4 else 0.0  # patches are of pictures
        x_N, mixture = mix(x_N, (patched, share, across, down))
        return x_N, labels_N, mixture

    def _label_loss(self, y_NK: Tensor, labels_N: Tensor, mixture: Mixture) -> Tensor:
        logits_NK = self.likeness.logits(y_NK)
        own = F.cross_entropy(logits_NK, labels_N)
        if mixture.share == 1:
            return own
        return torch.lerp(F.cross_entropy(logits_NK, Mixture.neighbours(labels_N)), own, mixture.share)

    def _follow(self, step: int) -> None:
        """A short memory at first: the average would else hold on to the start for most of a short training."""
        decay = min(self.options.average, (1 + step) / (10 + step))
        for slow, fast in zip(self.average.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    def _judge(self, best_score: tuple[float, float]) -> tuple[float, float]:
        """Replaces the best by what the training has come to, if that is better."""
        candidate = copy.deepcopy(self.average)
        recalibrate(candidate, batches(self.clean_N, JUDGED_BATCH))
        score = self._score(candidate)
        if score <= best_score:
            return best_score
        self.best.load_state_dict(candidate.state_dict())
        return score

    def _score(self, module: nn.Module) -> tuple[float, float]:
        return self.likeness.score(run(module, self.judging_x_N), self.taught_N, self.judging_y_N)

    def _checkpoint(self) -> Path | None:
        """Named by all that decides the training's course, so that no other training goes on from it."""
        if self.context.folder is None:
            return None
        digest = hashlib.sha256(repr((self.options, self.context.seed, len(self.training))).encode())
        states = [self.given.module.state_dict(), self.context.original.module.state_dict(), self.given.masks]
        for tensor in [*(value for state in states for value in state.values()), self.training.x_N[: self.batch]]:
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        self.context.folder.mkdir(parents=True, exist_ok=True)
        return self.context.folder / f"distil-{digest.hexdigest()[:16]}.safetensors"

    def _outcome(self, step: int, at_start: tuple[float, float], best: tuple[float, float], seconds: float) -> Outcome:
        module = copy.deepcopy(self.given.module)
        module.load_state_dict(self.best.state_dict())
        stopped = "" if step == self.steps else f" of {self.steps}, stopped by the time limit"
        note = (
            f"Trained for {step} steps{stopped} in {seconds:.0f} s on {len(self.training)} inputs: "
            f"{self._in_words(at_start)} before, {self._in_words(best)} after."
        )
        return Outcome(module=module.eval(), modified=best > at_start, notes=(note,))

    def _in_words(self, score: tuple[float, float]) -> str:
        right, loss = score
        if self.likeness.kind is OutputKind.TENSOR:
            return f"a squared error of {-loss:.3g} of the variance"
        return f"{100 * right:.1f} % {'like the original' if self.judging_y_N is None else 'right'}"


def _remembering(module: nn.Module, names: tuple[str, ...], outputs: dict[str, Tensor]) -> AbstractContextManager[None]:
    return watching(module, names, lambda name, _x_N, y_N: outputs.update({name: y_N}))


def _some(training: Samples, seed: int) -> Tensor:
    """Inputs to measure statistics on, in whole batches where there are enough."""
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))
    whole = len(order) // JUDGED_BATCH * JUDGED_BATCH
    return training.x_N[order[: min(whole, RECALIBRATED_ON) or len(order)]]


def _schedule(progress: float) -> float:
    """Linear up, then a half cosine down to 0."""
    return min(1.0, (progress + 1e-3) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * progress))

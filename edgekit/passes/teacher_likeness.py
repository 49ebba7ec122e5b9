"""How far a student's outputs are from its teacher's, by what kind of output they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# A probability of float32 below which the teacher's preference is noise.
_LEAST = 1e-7
_TINY = 1e-12


class OutputKind(Enum):
    LOGITS = auto()
    PROBABILITIES = auto()
    TENSOR = auto()
    """Anything but the scores of one class out of K."""

    @classmethod
    def of(cls, y_N: Tensor, *, classifier: bool) -> OutputKind:
        """What outputs (N, ...) are, by their values; `classifier` says whether (N, K) are scores of K classes at all."""
        if not classifier or y_N.ndim != 2 or y_N.shape[1] < 2:
            return cls.TENSOR
        if y_N.min() < 0 or y_N.max() > 1:
            return cls.LOGITS
        sums_to_one = (y_N.sum(1) - 1).abs().max() < 1e-3
        return cls.PROBABILITIES if sums_to_one else cls.TENSOR


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    kind: OutputKind
    temperature: float

    def loss(self, y_N: Tensor, teacher_N: Tensor) -> Tensor:
        """Of outputs (N, ...). Classifiers: T^2 KL(teacher || student), both softened by T (arXiv 1503.02531, section 2);
        others: the mean square of the difference over the teacher's variance."""
        if self.kind is OutputKind.TENSOR:
            return normalised_mse(y_N, teacher_N)
        log_p_NK = F.log_softmax(self.logits(y_N) / self.temperature, 1)
        log_q_NK = F.log_softmax(self.logits(teacher_N) / self.temperature, 1)
        return self.temperature**2 * F.kl_div(log_p_NK, log_q_NK, reduction="batchmean", log_target=True)

    def logits(self, y_NK: Tensor) -> Tensor:
        return y_NK.clamp_min(_LEAST).log() if self.kind is OutputKind.PROBABILITIES else y_NK

    def score(self, y_N: Tensor, teacher_N: Tensor, labels_N: Tensor | None) -> tuple[float, float]:
        """Greater is better: the share of right answers, or of the teacher's where there are no labels; then the loss, negated."""
        right = 0.0
        if self.kind is not OutputKind.TENSOR:
            wanted_N = teacher_N.argmax(1) if labels_N is None else labels_N
            right = (y_N.argmax(1) == wanted_N).float().mean().item()
        return right, -self.loss(y_N, teacher_N).item()


def normalised_mse(y_N: Tensor, teacher_N: Tensor) -> Tensor:
    """The mean square of the difference over the teacher's variance among inputs and places: 1 for its mean."""
    centred_N = teacher_N - teacher_N.mean(0, keepdim=True) if len(teacher_N) > 1 else teacher_N
    return (y_N - teacher_N).square().mean() / centred_N.square().mean().clamp_min(_TINY)

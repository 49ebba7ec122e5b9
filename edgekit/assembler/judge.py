"""What the genotypes of a supernet are predicted to reach on one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.assembler.predictor import AccuracyPredictor, answers_of, weights_of
from edgekit.assembler.uncertainty import Uncertainty
from edgekit.core.budget import Share
from edgekit.supernet.spec import SupernetSpec
from edgekit.tasks.task import Task

Genes = NDArray[np.int64]
Values = NDArray[np.float64]

# Predicted accuracies of the same genotype differ in the last place between two batches.
ROUNDING: Final = 5e-7


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Of P genotypes: the accuracy; the variances that it, and its distance to the full supernet's, would have if they were
    measured on one image of each label."""

    accuracy_P: Values
    variance_P: Values
    loss_variance_P: Values


class Judge:
    """Judges every genotype once and remembers it. Shapes: P genotypes, G genes."""

    def __init__(self, spec: SupernetSpec, predictor: AccuracyPredictor, uncertainty: Uncertainty, task: Task) -> None:
        answers_L, asked = answers_of(task, spec.labels)
        self.predictor, self.uncertainty = predictor, uncertainty
        with torch.no_grad():
            self._pairs = predictor.pairs(answers_L, asked)
            self._weights_A = weights_of(answers_L[asked])
        self.most_genes, self.least_genes = np.array(spec.most_genes), np.array(spec.least_genes)
        self._radix = np.cumprod([1, *(self.most_genes[:-1] + 1)])
        self._known: dict[int, tuple[float, float, float]] = {}
        self._full_recalls_A = self._recalls(self.most_genes[None])[0]
        self.full_accuracy = float(self.accuracy(self.most_genes[None])[0])

    def accuracy(self, genes_PG: Genes) -> Values:
        return self.judge(genes_PG).accuracy_P

    def judge(self, genes_PG: Genes) -> Judgement:
        codes = (genes_PG @ self._radix).tolist()
        new = {code: row for row, code in enumerate(codes) if code not in self._known}
        if new:
            judged = self._judge(genes_PG[list(new.values())])
            self._known.update(zip(new, map(tuple, judged.tolist()), strict=True))
        accuracy_P, variance_P, loss_variance_P = np.array([self._known[code] for code in codes]).reshape(-1, 3).T
        return Judgement(accuracy_P=accuracy_P, variance_P=variance_P, loss_variance_P=loss_variance_P)

    @torch.no_grad()
    def difficulties(self, genes_PG: Genes) -> tuple[Values, Values, Values]:
        """(`s_PA`, `alpha_PA`, `w_A`): rates and shapes of the asked labels as in the predictor, and what each label counts."""
        rates_PA, alpha_PA = self.predictor.difficulties_of_pairs(torch.from_numpy(genes_PG), self._pairs)
        return rates_PA.double().numpy(), alpha_PA.double().numpy(), self._weights_A.numpy()

    def interval(self, genes: Genes) -> tuple[float, float]:
        """Around the accuracy of one genotype; it holds the true accuracy with CONFIDENCE."""
        judged = self.judge(genes[None])
        accuracy = float(judged.accuracy_P[0])
        margin = float(self.uncertainty.accuracy.of(judged.variance_P)[0])
        return max(0.0, accuracy - margin), min(1.0, accuracy + margin)

    def reach(self, genes_PG: Genes, floor: float | Share) -> NDArray[np.bool_]:
        """Which genotypes are predicted to keep a floor: of accuracy; or, with CONFIDENCE, of the share of the full supernet's.

        The full supernet keeps every share.
        """
        if not isinstance(floor, Share):
            above: NDArray[np.bool_] = self.accuracy(genes_PG) >= floor - ROUNDING
            return above
        kept: NDArray[np.bool_] = self.sure_share(genes_PG) >= floor.fraction - ROUNDING
        return kept

    def sure_share(self, genes_PG: Genes) -> Values:
        """The share of the full supernet's accuracy that is kept with CONFIDENCE."""
        judged = self.judge(genes_PG)
        full = max(self.full_accuracy, 1e-9)
        sure_P = judged.accuracy_P / full - self.uncertainty.share.of(judged.loss_variance_P / full**2)
        return np.where((genes_PG == self.most_genes).all(1), 1.0, sure_P)

    def _judge(self, genes_PG: Genes) -> Values:
        recalls_PA = self._recalls(genes_PG)
        weights_A = self._weights_A
        columns = (
            (recalls_PA @ weights_A).clamp_max(1.0),
            (recalls_PA * (1 - recalls_PA)) @ weights_A**2,
            (recalls_PA - self._full_recalls_A).abs() @ weights_A**2,
        )
        judged: Values = torch.stack(columns, 1).numpy()
        return judged

    @torch.no_grad()
    def _recalls(self, genes_PG: Genes) -> torch.Tensor:
        return self.predictor.recalls_of_pairs(torch.from_numpy(genes_PG), self._pairs).double()

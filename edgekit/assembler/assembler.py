"""The assembler of one supernet: from a task and a budget to a genotype."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.assembler.costs import CostOf, CostTables
from edgekit.assembler.elites import Elites
from edgekit.assembler.generator import Generator
from edgekit.assembler.predictor import AccuracyPredictor
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.uncertainty import Uncertainty
from edgekit.supernet.storage import WEIGHTS, SupernetFolder, load_part
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembler:
    """A supernet with its generator, accuracy predictor and archive, all in eval mode."""

    supernet: Supernet
    searcher: Searcher

    @classmethod
    def load(cls, folder: SupernetFolder) -> Assembler:
        """Raises BadInputError where the folder's weights or archive are missing, damaged, or do not fit."""
        tensors = folder.read_tensors(WEIGHTS)
        spec, path = folder.spec, folder.path / WEIGHTS
        generator = Generator(spec)
        predictor = AccuracyPredictor(spec)
        load_part(generator, "generator", tensors, path)
        load_part(predictor, "predictor", tensors, path)
        searcher = Searcher(
            spec=spec,
            generator=generator.eval().requires_grad_(False),
            predictor=predictor.eval().requires_grad_(False),
            uncertainty=Uncertainty.of_card(folder.card),
            elites=Elites.load(folder),
        )
        return cls(supernet=folder.load(tensors), searcher=searcher)

    def tables(self, task: Task, cost_of: CostOf) -> CostTables:
        """What every genotype costs for this task on the target that `cost_of` prices."""
        return CostTables.of(self.searcher.spec, task, cost_of)

"""Fine-tuning with the unpruned model as teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from edgekit.core.errors import UsageError
from edgekit.passes.contract import Context, Needs, PassResult, Reduces, option

if TYPE_CHECKING:
    from edgekit.core.model import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class Distil:
    """Trains the model to answer as the original does on the same changed and mixed inputs. Pruned weights stay zero."""

    id: ClassVar[str] = "train::distil"
    summary: ClassVar[str] = "Fine-tunes the model with the original as teacher; pruned weights stay zero."
    source: ClassVar[str] = "Hinton et al., arXiv 1503.02531; Beyer et al., arXiv 2106.05237"
    needs: ClassVar[Needs] = Needs.TRAINING
    reduces: ClassVar[tuple[Reduces, ...]] = ()

    epochs: float = option(30.0, help="passes over the training inputs", search=(10.0, 30.0, 100.0))
    batch: int = option(128, help="inputs a step")
    learning_rate: float = option(0.003, help="of AdamW at its highest", search=(0.001, 0.003, 0.01))
    weight_decay: float = option(0.01, help="of convolution kernels, a unit of learning rate")
    temperature: float = option(4.0, help="that both classifiers' outputs are softened by", search=(1.0, 2.0, 4.0))
    label_weight: float = option(0.1, help="share of the loss against labels, where there are any", search=(0.0, 0.1))
    mix: float = option(0.5, help="share of batches whose inputs are mixed with one another", search=(0.0, 0.5, 1.0))
    average: float = option(0.99, help="decay of the moving average of weights that is kept; 0 for none")
    features: float = option(0.0, help="weight of the layers' outputs against the teacher's, where channels agree")

    def __post_init__(self) -> None:
        if self.epochs <= 0 or self.batch < 2:
            raise UsageError(
                f"{self.id}: epochs must be above 0 and batch at least 2", hint="see `edgekit passes show`"
            )
        if self.learning_rate <= 0 or self.temperature <= 0 or self.weight_decay < 0 or self.features < 0:
            raise UsageError(
                f"{self.id}: learning_rate and temperature must be above 0, weight_decay and features not below",
                hint="see `edgekit passes show`",
            )
        if not (0 <= self.label_weight <= 1 and 0 <= self.mix <= 1 and 0 <= self.average < 1):
            raise UsageError(
                f"{self.id}: label_weight and mix must lie from 0 to 1, average from 0 to below 1",
                hint="see `edgekit passes show`",
            )

    def __call__(self, model: Model, context: Context) -> PassResult:
        """Where training does not help, judged by `context.judging`, the model stays as it is."""
        from edgekit.passes.distillation_training import Distillation

        if context.training is None or len(context.training) < 2:
            raise UsageError(f"{self.id} needs inputs to train with", hint="give training data with --data")
        training = Distillation(model, context.training, context, self)
        outcome = training.run()
        return PassResult(
            model=replace(model, module=outcome.module) if outcome.modified else model,
            modified=outcome.modified,
            notes=outcome.notes,
        )

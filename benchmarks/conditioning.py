"""Does it pay to choose bricks by the task, at equal MACs? Three designs, trained alike from the same supernet.

sorted      the control: random prefixes of bricks; its task-independent choice is "first k"
joint       a generator trained together with the supernet by straight-through gates, rewarded for the mutual information
            between task and gates (after NN-Factory, arXiv 2308.15003)
owned       in each block one shared brick, all others owned by groups of labels that the supernet confuses
importance  no training beyond the control's: the Taylor importance of each brick for each label (arXiv 1906.10771),
            summed over the task's labels, fills the budget

Each is judged on held-out images, at equal MACs and image size, against the first bricks of all blocks (SortedNet, arXiv
2309.00255), against its own choice for all labels, and against the control; the spread of its genotypes is their entropy in
bits a block. The supernet is continued for --steps of --batch images with a falling learning rate, and judged four times on
the way.
"""

from __future__ import annotations

import itertools
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from harness import Table, open_model, options_of, publish, standard_error
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from edgekit.assembler.generator import Generator, open_within
from edgekit.assembler.training.data.dataset import split_by_group
from edgekit.assembler.training.data.reading import read_parquet
from edgekit.assembler.training.recipe import Recipe
from edgekit.assembler.training.trainer import Batch, Trainer
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.resizing import resized
from edgekit.supernet.storage import WEIGHTS, SupernetFolder

# Of the full supernet's MACs, each at the largest image size that leaves a choice.
LIMITS = {0.03: 0, 0.06: 0, 0.10: 1, 0.25: 1}
LEARNING_RATE = 5e-4
INFORMATION = 0.5
JUDGED = 4

CONTROL, FIRST, ONE = "sorted", "first k", "one for all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A task, and the images of its labels that were held out."""

    indices: tuple[int, ...]
    images: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A design after so many steps; accuracies are those of each question, of `others` on the design's own weights."""

    design: str
    step: int
    limit: float
    bits_per_block: float
    accuracy: list[float]
    others: dict[str, list[float]]


class Sorted(Trainer):
    """The control, and what all designs share."""

    def start(self, folder: SupernetFolder, steps: int) -> None:
        self.supernet.load_state_dict(folder.load(folder.read_tensors(WEIGHTS)).state_dict())
        self.supernet.requires_grad_(True).eval()
        self.steps = steps
        self.rng = np.random.default_rng(self.recipe.seed)
        self.prepare()
        self.optimizer = torch.optim.AdamW(self.trained(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.02)

    def prepare(self) -> None:
        """What a design needs before the first step."""

    def trained(self) -> list[Tensor]:
        return list(self.supernet.parameters())

    def train_until(self, first: int, last: int) -> None:
        for step in range(first, last):
            for group in self.optimizer.param_groups:
                group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            indices = self.drawn_task()
            limit = float(self.rng.choice(list(LIMITS)))
            drawn_N, changes_NR = self._draw(indices)
            batch = self._batch(drawn_N, changes_NR, self.recipe.augmentation.in_place, None)
            full = self.spec.genotype((LIMITS[limit], *self.spec.most_genes[1:]))
            teacher_NK = self._answer(batch, full)
            torch.autograd.backward(self._cross_entropy(teacher_NK, batch, torch.arange(self.spec.labels)))
            torch.autograd.backward(self.small_loss(batch, teacher_NK.detach(), indices, limit))
            torch.nn.utils.clip_grad_norm_(self.trained(), 5.0)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def drawn_task(self) -> tuple[int, ...]:
        return self.curriculum.draw(self.rng, all_labels=0.2)

    def small_loss(self, batch: Batch, teacher_NK: Tensor, indices: tuple[int, ...], limit: float) -> Tensor:
        return self.of(self.random_prefix(limit), batch, teacher_NK, indices)

    def of(self, genotype: Genotype, batch: Batch, teacher_NK: Tensor, indices: tuple[int, ...]) -> Tensor:
        return self._distilled(self._answer(batch, genotype), teacher_NK, batch, torch.tensor(indices))

    def random_prefix(self, limit: float) -> Genotype:
        falling = np.sort(self.rng.random(self.shape))[:, ::-1] + self.rng.normal(0, 0.3, (self.shape[0], 1))
        return self.prefix(falling, limit)

    def prefix(self, z_BM: NDArray[np.floating], limit: float) -> Genotype:
        size = LIMITS[limit]
        return self.spec.genotype((size, *open_within(z_BM, self.spec, self.macs[size], limit)))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.spec.blocks), max(block.bricks for block in self.spec.blocks)

    def first_bricks(self, limit: float) -> Genotype:
        return self.prefix(-np.arange(self.shape[1], dtype=float)[None].repeat(self.shape[0], 0), limit)

    def choose(self, _indices: tuple[int, ...], limit: float) -> Genotype:
        return self.first_bricks(limit)

    def logits_of(self, x_NCHW: Tensor, genotype: Genotype, gates_BM: Tensor | None = None) -> Tensor:
        """`z_NL`, float32; gates weigh each brick's projection."""
        x_NCHW = resized(x_NCHW, self.spec.image_size_of(genotype)).contiguous(memory_format=torch.channels_last)
        weights = {} if gates_BM is None else self.gated(gates_BM)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            z_NL: Tensor = functional_call(self.supernet, weights, (x_NCHW, genotype))
        return z_NL.float()

    def gated(self, gates_BM: Tensor) -> dict[str, Tensor]:
        return {
            f"blocks.{index}.w_project": block.w_project
            * gates_BM[index, : block.spec.bricks].repeat_interleave(block.spec.brick_channels)[None, :, None, None]
            for index, block in enumerate(self.supernet.blocks)
        }


class Joint(Sorted):
    def prepare(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            self.generator = Generator(self.spec)

    def trained(self) -> list[Tensor]:
        return [*self.supernet.parameters(), *self.generator.parameters()]

    def small_loss(self, batch: Batch, teacher_NK: Tensor, indices: tuple[int, ...], limit: float) -> Tensor:
        others = [self.drawn_task() for _ in range(15)]
        z_TBM = self.logits([indices, *others], limit)
        noise = self.rng.logistic(0, 0.5, (self.shape[0], 1))
        genotype = self.prefix(z_TBM[0].detach().numpy() + noise, limit)
        soft_BM = torch.sigmoid(z_TBM[0])
        straight_BM = 1 + soft_BM - soft_BM.detach()
        z_NL = self.logits_of(batch.x_NCHW, genotype, straight_BM)
        chosen = self._distilled(z_NL, teacher_NK, batch, torch.tensor(indices))
        p_TBM = torch.sigmoid(z_TBM)
        information = _entropy_of(p_TBM.mean(0)).mean() - _entropy_of(p_TBM).mean()
        macs = self.macs[LIMITS[limit]]
        share = (soft_BM * torch.tensor(macs.per_brick)[:, None]).sum() / macs.full + macs.fixed / macs.full
        penalty = 20 * F.relu(share - limit) ** 2
        rest = self.of(self.random_prefix(limit), batch, teacher_NK, indices)
        return chosen + 0.5 * rest - INFORMATION * information + penalty

    def logits(self, tasks: Sequence[tuple[int, ...]], limit: float) -> Tensor:
        t_TL = torch.zeros(len(tasks), self.spec.labels)
        for row, indices in enumerate(tasks):
            t_TL[row, list(indices)] = 1
        n = len(tasks)
        z_TBM: Tensor = self.generator(t_TL, torch.full((n,), limit), torch.full((n,), LIMITS[limit]))
        return z_TBM

    @torch.no_grad()
    def choose(self, indices: tuple[int, ...], limit: float) -> Genotype:
        return self.prefix(self.logits([indices], limit)[0].numpy(), limit)


class Owned(Sorted):
    """Brick 0 of each block is shared, brick g belongs to group g of labels."""

    @torch.no_grad()
    def prepare(self) -> None:
        genotype = self.spec.genotype((1, *self.spec.most_genes[1:]))
        parts = torch.split(self.held_x_NCHW, 250)
        p_NL = torch.cat([self.logits_of(part.float() / 255, genotype).softmax(1) for part in parts])
        mean_LL = torch.stack([p_NL[self.held_y_N == label].mean(0) for label in range(self.spec.labels)])
        alike = (mean_LL + mean_LL.T).sqrt().numpy()
        self.group_L = fcluster(linkage(alike, "ward"), self.shape[1] - 1, "maxclust")

    def drawn_task(self) -> tuple[int, ...]:
        if self.rng.random() < 0.5:
            return super().drawn_task()
        members = np.flatnonzero(self.group_L == self.rng.integers(1, self.shape[1]))
        if len(members) < 3:
            return super().drawn_task()
        size = int(self.rng.integers(2, len(members)))
        return tuple(sorted(self.rng.choice(members, size, replace=False).tolist()))

    def small_loss(self, batch: Batch, teacher_NK: Tensor, indices: tuple[int, ...], limit: float) -> Tensor:
        """The task's own bricks, and the first ones, which the comparison needs."""
        own = self.of(self.choose(indices, limit), batch, teacher_NK, indices)
        return own + 0.5 * self.of(self.first_bricks(limit), batch, teacher_NK, indices)

    def choose(self, indices: tuple[int, ...], limit: float) -> Genotype:
        counts = self.first_bricks(limit).counts
        members = Counter(self.group_L[list(indices)].tolist())
        order = [0, *sorted(range(1, self.shape[1]), key=lambda group: (-members[group], group))]
        masks = tuple(sum(1 << brick for brick in order[:count]) for count in counts)
        return replace(self.first_bricks(limit), masks=masks)


class Importance(Sorted):
    """Judged on the control's weights."""

    def measure(self) -> None:
        """`importance_LBM`: the squared gradient of the loss with respect to each gate, by label."""
        self.importance_LBM = torch.zeros(self.spec.labels, *self.shape)
        genotype = self.spec.genotype((0, *self.spec.most_genes[1:]))
        for label in range(self.spec.labels):
            chosen = torch.from_numpy(self.rng.permutation(np.flatnonzero(self.y_N.numpy() == label))[:32].copy())
            for part in torch.split(self.x_NCHW[chosen].float() / 255, 8):
                gates_BM = torch.ones(self.shape, requires_grad=True)
                z_NL = self.logits_of(part, genotype, gates_BM)
                loss = F.cross_entropy(z_NL, torch.full((len(part),), label))
                (gradient_BM,) = torch.autograd.grad(loss, gates_BM)
                self.importance_LBM[label] += gradient_BM**2

    def choose(self, indices: tuple[int, ...], limit: float) -> Genotype:
        importance_BM = self.importance_LBM[list(indices)].sum(0).numpy()
        worth_BM = np.minimum.accumulate(importance_BM / np.array(self.macs[LIMITS[limit]].per_brick)[:, None], axis=1)
        return self.prefix(worth_BM - 1e-12 * np.arange(self.shape[1]), limit)


def main() -> int:
    parser = options_of(__doc__)
    parser.set_defaults(model="things200", data=Path(__file__).parents[2] / "shared/data/images/things200")
    parser.add_argument("--steps", type=int, default=1200, help="of training for each design")
    parser.add_argument("--batch", type=int, default=192, help="images of a step")
    parser.add_argument("--tasks", type=int, default=60)
    options = parser.parse_args()
    folder = open_model(options, needs_data=True)
    recipe = replace(Recipe.load(folder.path / "recipe.toml"), batch=options.batch)
    labels = len(folder.vocabulary)
    dataset = read_parquet(options.data, "train", image_size=folder.spec.image_size, labels=labels)
    train, held_out = split_by_group(dataset, held_out=recipe.held_out, seed=recipe.seed)
    points = np.linspace(0, options.steps, JUDGED + 1).astype(int).tolist()
    judged: list[Judged] = []
    with tempfile.TemporaryDirectory() as work:
        given = recipe, folder.vocabulary, train, held_out, Path(work)
        control, importance, joint, owned = Sorted(*given), Importance(*given), Joint(*given), Owned(*given)
        for design in (control, importance, joint, owned):
            design.start(folder, options.steps)
        questions = _questions(control, options.tasks, options.seed)
        for first, last in itertools.pairwise(points):
            control.train_until(first, last)
            importance.supernet.load_state_dict(control.supernet.state_dict())
            importance.measure()
            judged += _judged(control, CONTROL, questions, last)
            judged += _judged(importance, "importance", questions, last)
        for name, design in (("joint", joint), ("owned", owned)):
            for first, last in itertools.pairwise(points):
                design.train_until(first, last)
                judged += _judged(design, name, questions, last)
    figures = {"batch": options.batch, "steps": options.steps, "judged": [asdict(one) for one in judged]}
    publish("conditioning", _tables(judged, options.steps), figures, options.output, model=folder)
    return 0


def _questions(trainer: Sorted, number: int, seed: int) -> list[Question]:
    """Random tasks of 5, 10 and 20 labels, and as many compositions that training has not kept out."""
    rng = np.random.default_rng(seed)
    labels = trainer.spec.labels
    seen = [composition.indices for composition in trainer.curriculum.seen if 5 <= len(composition.indices) <= 20]
    y_N = trainer.held_y_N.numpy()
    found = []
    for index in range(number):
        if index % 2:
            indices = seen[int(rng.integers(len(seen)))]
        else:
            indices = tuple(sorted(rng.choice(labels, (5, 10, 20)[index // 2 % 3], replace=False).tolist()))
        found.append(Question(indices=indices, images=np.flatnonzero(np.isin(y_N, indices))))
    return found


def _judged(design: Sorted, name: str, questions: Sequence[Question], step: int) -> list[Judged]:
    print(f"{name}: step {step}", file=sys.stderr, flush=True)
    every = tuple(range(design.spec.labels))
    found = []
    for limit in LIMITS:
        own = [design.choose(question.indices, limit) for question in questions]
        others = {FIRST: design.first_bricks(limit), ONE: design.choose(every, limit)}
        bits = np.mean([_bits(blocks) for blocks in zip(*(genotype.masks for genotype in own), strict=True)])
        found.append(
            Judged(
                design=name,
                step=step,
                limit=limit,
                bits_per_block=float(bits),
                accuracy=_accuracies(design, questions, own),
                others={
                    other: _accuracies(design, questions, [genotype] * len(questions))
                    for other, genotype in others.items()
                },
            )
        )
    return found


@torch.no_grad()
def _accuracies(design: Sorted, questions: Sequence[Question], chosen: Sequence[Genotype]) -> list[float]:
    """Of each question with its genotype; a genotype of several questions sees each image once."""
    right: dict[int, float] = {}
    for genotype in dict.fromkeys(chosen):
        asked = [number for number, one in enumerate(chosen) if one == genotype]
        images_N = np.unique(np.concatenate([questions[number].images for number in asked]))
        x_NCHW = design.held_x_NCHW[images_N].float() / 255
        z_NL = torch.cat([design.logits_of(part, genotype) for part in torch.split(x_NCHW, 250)])
        for number in asked:
            question = questions[number]
            z_KR = z_NL[np.searchsorted(images_N, question.images)][:, list(question.indices)]
            answers_K = torch.tensor(question.indices)[z_KR.argmax(1)]
            right[number] = float((answers_K == design.held_y_N[question.images]).float().mean())
    return [right[number] for number in range(len(questions))]


def _bits(masks: Sequence[int]) -> float:
    total = len(masks)
    return sum(-n / total * math.log2(n / total) for n in Counter(masks).values())


def _entropy_of(p: Tensor) -> Tensor:
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(p * p.log2() + (1 - p) * (1 - p).log2())


def _tables(judged: Sequence[Judged], steps: int) -> list[Table]:
    control = {(one.step, one.limit): one.accuracy for one in judged if one.design == CONTROL}
    columns = (
        "design",
        "steps",
        "MACs",
        "accuracy",
        "bits a block",
        *(f"over {name}" for name in (FIRST, ONE, CONTROL)),
    )
    rows = []
    for one in judged:
        others = {**one.others, CONTROL: control[one.step, one.limit]}
        leads = [np.subtract(one.accuracy, others[name]).tolist() for name in (FIRST, ONE, CONTROL)]
        rows.append(
            (
                one.design,
                one.step,
                f"{one.limit:.0%}",
                f"{fmean(one.accuracy):.2%}",
                f"{one.bits_per_block:.2f}",
                *(f"{fmean(lead):+.2%} +- {standard_error(lead):.2%}" for lead in leads),
            )
        )
    return [
        Table("At the end", columns, [row for row in rows if row[1] == steps]),
        Table("Learning curves", columns, rows),
    ]


if __name__ == "__main__":
    sys.exit(main())

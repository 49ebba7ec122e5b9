"""Gated supernet against sliced subnet, on random genotypes.

    python benchmarks/slicing.py [--genotypes N] [--model MODEL] [-o RESULT.json]

Half of the genotypes open any bricks, half the first ones; of the tasks, eight of ten tell all labels apart, one has the
class `other`, one asks for presence. Image sizes are random too. Inputs are the first of the supernet's calibration
pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from harness import Table, bars, open_model, options_of, publish
from random_inputs import all_labels, presence, random_masks, random_prefix

from edgekit.supernet.genotype import Genotype
from edgekit.supernet.resizing import resized
from edgekit.supernet.storage import CALIBRATION, WEIGHTS
from edgekit.supernet.subnet import slice_subnet, task_probabilities
from edgekit.supernet.supernet import Supernet
from edgekit.tasks.sampling import random_task
from edgekit.tasks.task import Task
from edgekit.tasks.vocabulary import Vocabulary

IMAGES = 32
BAR = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The largest absolute difference over all images and outputs."""

    bricks: str
    kind: str
    probabilities: float
    logits: float


def compared(supernet: Supernet, genotype: Genotype, task: Task, x_NCHW: torch.Tensor) -> tuple[float, float]:
    subnet = slice_subnet(supernet, genotype, task)
    x_NCHW = resized(x_NCHW, supernet.spec.image_size_of(genotype))
    gated_NL = supernet.forward_gated(x_NCHW, genotype)
    rows_NR = gated_NL[:, list(task.head_rows(supernet.spec.labels))]
    probabilities = (subnet(x_NCHW) - task_probabilities(gated_NL, task)).abs().max()
    return float(probabilities), float((subnet.logits(x_NCHW) - rows_NR).abs().max())


def drawn_task(rng: np.random.Generator, vocabulary: Vocabulary, number: int) -> tuple[str, Task]:
    some = random_task(rng, vocabulary, 5)
    if number % 10 == 8:
        return "5 labels, other", Task(indices=some.indices, other=True, text=some.text)
    if number % 10 == 9:
        return "5 labels, presence", presence(some.indices, some.text)
    return f"{len(vocabulary)} labels", all_labels(vocabulary)


def row(name: str, chosen: list[Difference]) -> tuple[object, ...]:
    most = max(one.probabilities for one in chosen)
    middle = median(one.probabilities for one in chosen)
    return name, len(chosen), f"{middle:.1e}", f"{most:.1e}", f"{max(one.logits for one in chosen):.1e}"


@torch.inference_mode()
def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--genotypes", type=int, default=200)
    options = parser.parse_args()
    model = open_model(options)
    supernet = model.load(model.read_tensors(WEIGHTS))
    pictures_NHWC = model.read_tensors(CALIBRATION)["x_NHWC"][:IMAGES]
    x_NCHW = (pictures_NHWC.float() / 255).permute(0, 3, 1, 2).contiguous()
    rng = np.random.default_rng(options.seed)
    differences = []
    for number in range(options.genotypes):
        kind, task = drawn_task(rng, model.vocabulary, number)
        first = number < options.genotypes // 2
        genotype = random_prefix(rng, model.spec) if first else random_masks(rng, model.spec)
        probabilities, logits = compared(supernet, genotype, task, x_NCHW)
        bricks = "first bricks" if first else "any bricks"
        differences.append(Difference(bricks=bricks, kind=kind, probabilities=probabilities, logits=logits))

    groups = dict.fromkeys([one.bricks for one in differences] + [one.kind for one in differences])
    rows = [row(name, [one for one in differences if name in (one.bricks, one.kind)]) for name in groups]
    most = max(one.probabilities for one in differences)
    most_logits = max(one.logits for one in differences)
    title = f"Gated supernet against sliced subnet, {len(differences)} genotypes, {IMAGES} pictures, float32"
    columns = ("", "genotypes", "median", "max", "max of logits")
    kept = bars(("largest difference of probabilities", f"{most:.1e}", f"at most {BAR:g}", most <= BAR))
    figures = {
        "genotypes": len(differences),
        "images": IMAGES,
        "bar": BAR,
        "met": most <= BAR,
        "max_probability_difference": most,
        "max_logit_difference": most_logits,
    }
    publish(
        "slicing", [Table(title, columns, [*rows, row("all", differences)]), kept], figures, options.output, model=model
    )


if __name__ == "__main__":
    main()

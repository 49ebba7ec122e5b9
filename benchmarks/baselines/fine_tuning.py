"""Fine-tuning for one task: a network that works already goes on learning on the images of its task alone.

Head and weights, normalisation folded into them; the learning rate is the recipe's for trained weights.
"""

from __future__ import annotations

import copy
import time

import torch

from baselines.training import Course, Done, Images, Trained, Training
from edgekit.assembler.training.recipe import Recipe
from edgekit.supernet.subnet import Subnet


def fine_tuned(subnet: Subnet, images: Images, recipe: Recipe, done: Done, *, image_size: int, seed: int) -> Trained:
    """Of a classification's subnet, which is left as it is; `images` are those of its task (`Images.for_task`)."""
    started = time.perf_counter()
    learner = copy.deepcopy(subnet).requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    course = Course.of(recipe, learning_rate=recipe.learning_rate)
    steps = Training(learner, learner.logits, images, course, seed=seed).run(done, image_size=image_size)
    return Trained(
        subnet=learner.requires_grad_(False),
        image_size=image_size,
        steps=steps,
        seconds=time.perf_counter() - started,
    )

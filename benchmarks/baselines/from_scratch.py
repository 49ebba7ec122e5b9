"""A small network trained from scratch: the same shape as the assembled one, fresh weights, its task's images alone."""

from __future__ import annotations

import time

import torch

from baselines.dense import all_of, dense_spec, hidden_of
from baselines.training import Course, Done, Images, Trained, Training
from edgekit.assembler.training.recipe import Recipe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.subnet import slice_subnet
from edgekit.supernet.supernet import Supernet


def fresh(spec: SupernetSpec, genotype: Genotype, *, outputs: int, seed: int) -> Supernet:
    """The genotype's open bricks as plain channels, its closed blocks gone."""
    image_size = spec.image_size_of(genotype)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Supernet(dense_spec(spec, hidden_of(spec, genotype), image_size=image_size, outputs=outputs))


def trained_from_scratch(
    spec: SupernetSpec, genotype: Genotype, images: Images, recipe: Recipe, done: Done, *, outputs: int, seed: int
) -> Trained:
    """`images` are those of a classification of so many outputs (`Images.for_task`)."""
    started = time.perf_counter()
    network = fresh(spec, genotype, outputs=outputs, seed=seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    course = Course.of(recipe, learning_rate=recipe.warmup_learning_rate)
    training = Training(network, lambda x_NCHW: network(x_NCHW, network.spec.full), images, course, seed=seed)
    steps = training.run(done, image_size=network.spec.image_size)
    network.eval()
    return Trained(
        subnet=slice_subnet(network, network.spec.full, all_of(network.spec)),
        image_size=network.spec.image_size,
        steps=steps,
        seconds=time.perf_counter() - started,
    )

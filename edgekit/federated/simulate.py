"""A course with all clients in this process, from data that is dealt to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import fx

from edgekit.core.errors import UsageError
from edgekit.federated.client import Client, LocalSamples, Studied
from edgekit.federated.costs import ClientBudget
from edgekit.federated.course import Course
from edgekit.federated.course_folder import CourseResult, write_course
from edgekit.federated.datasets import samples_of, server_pictures, training_and_test
from edgekit.federated.partition import partition
from edgekit.federated.privacy import require_accountant
from edgekit.federated.randomness import repeatable
from edgekit.federated.settings import Settings
from edgekit.federated.simulator import Simulator, one_thread
from edgekit.federated.start import Start, start
from edgekit.federated.state import State
from edgekit.federated.transport import Transport
from edgekit.pruning.targets import Answers

JUDGING_BATCH = 512


def simulate(
    *,
    task: str,
    data: Path | str,
    public: Path | str | None = None,
    output: Path | str,
    model: str | Path = "signs43",
    genotype: str | None = None,
    clients: str = "natural",
    number: int = 20,
    settings: Settings | None = None,
    budget: ClientBudget | None = None,
    ray: str | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> CourseResult:
    """Runs the course into the folder `output`; one that was broken off there goes on, with the same result to the bit.

    `clients` says how the pictures are dealt to `number` clients ("natural", "dirichlet:0.5", "even"; docs/federated.md). They are
    played in this process, or with the address of a `ray` cluster ("local": one of this machine's cores) there. On its own labelled
    pictures, `public`, the server prunes. Raises UsageError,
    BadInputError, BoardError and MissingExtraError.
    """
    settings, folder = settings or Settings(), Path(output)
    if ray is not None:
        _check_sums_are_plain(settings)
    if settings.noise_multiplier:
        require_accountant()
    progress("start")
    begin = start(model=model, task=task, genotype=genotype)
    progress("data")
    training, test = training_and_test(
        Path(data), size=begin.input_shape[1], vocabulary=begin.vocabulary, indices=begin.indices, seed=settings.seed
    )
    pictures = server_pictures(None if public is None else Path(public), begin)
    unit_N = np.unique(np.stack([training.y_N, training.units]), axis=1, return_inverse=True)[1].reshape(-1)
    parts = partition(clients, training.y_N, unit_N, number, settings.seed)
    studied = studied_of(begin)
    by_number = {
        index: simulated(
            f"client {index:04}",
            studied,
            samples_of(training.take(_chosen(part, len(training)))),
            budget,
            seed=settings.seed,
        )
        for index, part in enumerate(parts)
    }
    course = Course.of(begin, settings, pictures=pictures, judge=judge_of(samples_of(test)), folder=folder)
    return write_course(folder, begin, settings, _run(course, by_number, ray, progress))


def _run(course: Course, clients: Mapping[int, Client], ray: str | None, progress: Callable[[str], None]) -> State:
    if ray is None:
        with one_thread():
            return course.run(Simulator(clients_by_number=clients), progress)
    from edgekit.federated.flower.simulation import simulate_on_ray

    states = []

    def run(transport: Transport) -> None:
        with one_thread():
            states.append(course.run(transport, progress))

    simulate_on_ray(run, clients, address=ray)
    return states[0]


def _check_sums_are_plain(settings: Settings) -> None:
    if settings.secure:
        raise UsageError(
            "secure sums cannot be simulated on Ray: a client keeps its secrets between messages, and there is in another process "
            "each time",
            hint="leave out --ray: in one process they are simulated too",
        )


def studied_of(begin: Start) -> Studied:
    """The network as a client in this process has it."""
    return Studied(
        module=begin.module, size=begin.input_shape[1], mean_std=None, labels=begin.labels, answers=Answers.LOGITS
    )


def simulated(
    name: str, studied: Studied, samples: LocalSamples, budget: ClientBudget | None = None, *, seed: int = 0
) -> Client:
    """A client whose network and samples are in this process, and whose noise can be repeated."""
    return Client(
        name=name,
        study=lambda _offer: studied,
        studied=lambda _course: studied,
        samples_of=lambda _studied: samples,
        random_at=partial(repeatable, seed, name),
        budget=budget or ClientBudget(),
    )


def judge_of(samples: LocalSamples) -> Callable[[fx.GraphModule], float]:
    """The share of samples that a network answers rightly."""

    @torch.inference_mode()
    def judge(module: fx.GraphModule) -> float:
        module.eval()
        right = 0
        for some in torch.split(torch.arange(len(samples)), JUDGING_BATCH):
            right += int((module(samples.inputs(some, None)).argmax(1) == samples.y_N[some]).sum())
        return right / len(samples)

    return judge


def _chosen(part: np.ndarray, number: int) -> np.ndarray:
    chosen = np.zeros(number, bool)
    chosen[part] = True
    return chosen

"""Predicted accuracies behave as accuracies do."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_assemblers import LABELS, SPEC, all_genes, genes, random_predictor, tasks

from edgekit.assembler.predictor import AccuracyPredictor, answers_of, genes_tensor
from edgekit.tasks.task import Task, TaskKind

PREDICTORS = [random_predictor(seed, monotone=monotone) for seed in range(2) for monotone in (False, True)]
predictors = st.sampled_from(PREDICTORS)


def recalls_of(predictor: AccuracyPredictor, of_genotype: tuple[int, ...], task: Task) -> dict[int, float]:
    """By label."""
    answers_L, asked = answers_of(task, LABELS)
    recalls_PA = predictor.recalls(genes_tensor([of_genotype]), answers_L, asked)
    return dict(zip(asked.tolist(), recalls_PA[0].tolist(), strict=True))


@settings(deadline=None)
@given(predictors, genes, tasks())
def test_accuracies_and_recalls_are_probabilities(predictor, of_genotype, task):
    assert all(0 <= recall <= 1 for recall in recalls_of(predictor, of_genotype, task).values())
    assert 0 <= float(predictor(genes_tensor([of_genotype]), task)) <= 1


@settings(deadline=None)
@given(predictors, genes, st.sets(st.integers(0, LABELS - 1), min_size=2, max_size=LABELS - 1), st.integers(0, 5))
def test_a_further_label_never_helps_to_recognise_another(predictor, of_genotype, asked, further):
    assume(further not in asked)
    before = recalls_of(predictor, of_genotype, Task(indices=tuple(sorted(asked)), text=""))
    after = recalls_of(predictor, of_genotype, Task(indices=tuple(sorted({*asked, further})), text=""))
    assert all(after[label] <= before[label] + 1e-6 for label in asked)


@settings(deadline=None)
@given(predictors, genes, st.permutations(range(LABELS)), st.integers(1, LABELS - 2), st.floats(-2, 6))
def test_hard_images_are_hard_for_every_label(predictor, of_genotype, labels, number, shape):
    """Two halves of a task together are recognised at least as often as if their confusions were independent."""
    predictor = copy.deepcopy(predictor)
    predictor.shape.fill_(shape)
    label, first, second = labels[0], labels[1 : 1 + number], labels[1 + number :]
    apart = [
        recalls_of(predictor, of_genotype, Task(indices=tuple(sorted([label, *part])), text=""))[label]
        for part in (first, second)
    ]
    together = recalls_of(predictor, of_genotype, Task(indices=tuple(range(LABELS)), text=""))[label]
    assert together >= np.prod(apart) - 1e-6
    assert together <= min(apart) + 1e-6


@settings(deadline=None)
@given(predictors, genes, tasks())
def test_joining_answers_never_harms(predictor, of_genotype, task):
    """Confusing two labels that share an answer costs nothing: presence is easier than naming every label."""
    assume(task.kind is TaskKind.PRESENCE or task.other)
    every = recalls_of(predictor, of_genotype, Task(indices=tuple(range(LABELS)), text=""))
    joined = recalls_of(predictor, of_genotype, task)
    assert joined.keys() == every.keys()
    assert all(joined[label] >= every[label] - 1e-6 for label in every)


@settings(deadline=None)
@given(tasks())
def test_every_label_belongs_to_the_output_that_its_task_gives_it(task):
    answers_L, asked = answers_of(task, LABELS)
    listed = [group.indices for group in task.groups] or [(label,) for label in task.indices]
    outputs = [task.indices] if task.kind is TaskKind.PRESENCE else listed
    for label in range(LABELS):
        if label in task.indices:
            (expected,) = (output for output, labels in enumerate(outputs) if label in labels)
        else:
            expected = len(outputs) if task.sums and task.head_rows(LABELS) != task.indices else -1
        assert answers_L[label] == expected
        assert (label in asked.tolist()) == (expected >= 0)


@settings(deadline=None)
@given(predictors, genes, tasks())
def test_accuracy_counts_every_output_alike_and_in_it_every_label(predictor, of_genotype, task):
    recalls = recalls_of(predictor, of_genotype, task)
    answers_L, _ = answers_of(task, LABELS)
    outputs: dict[int, list[float]] = {}
    for label, recall in recalls.items():
        outputs.setdefault(int(answers_L[label]), []).append(recall)
    expected = np.mean([np.mean(of_output) for of_output in outputs.values()])
    assert float(predictor(genes_tensor([of_genotype]), task)) == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(predictors, tasks())
def test_genotypes_are_judged_one_by_one(predictor, task):
    every = all_genes()[::29]
    together = predictor(genes_tensor(every.tolist()), task)
    alone = torch.cat([predictor(genes_tensor([of_genotype]), task) for of_genotype in every.tolist()])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


@settings(deadline=None)
@given(genes, tasks(), st.integers(1, len(SPEC.blocks)))
def test_genes_matter(of_genotype, task, gene):
    """The monotone predictor gains by every brick, and the image size changes what it predicts."""
    assume(of_genotype[gene] < SPEC.most_genes[gene])
    more, resized = list(of_genotype), list(of_genotype)
    more[gene] += 1
    resized[0] = 1 - resized[0]
    before, after, at_other_size = PREDICTORS[1](genes_tensor([of_genotype, more, resized]), task).tolist()
    assert after > before
    assert at_other_size != before
    assert replace(task, text="another wording") == task

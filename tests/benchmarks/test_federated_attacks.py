"""The attacks of benchmarks/federated_attacks.py have power, and the defences take it from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacked_clients import Scene, Seen, flat, secure_sum, unflat
from federated_attacks import CLIP, LABELS, views
from gradient_attacks import completed, disaggregated, label_shares, rounded_counts, similarity
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional as F  # noqa: N812

SAMPLES = 860


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Pieces of scikit-learn's two photographs, with labels that mean nothing."""
    generator = np.random.default_rng(0)
    photographs = [torch.tensor(one).permute(2, 0, 1).float() / 255 for one in load_sample_images().images]
    pieces = []
    for number in range(SAMPLES):
        photograph = photographs[number % 2]
        row, column = (generator.integers(0, size - 64) for size in photograph.shape[1:])
        pieces.append(F.avg_pool2d(photograph[:, row : row + 64, column : column + 64], 2))
    return Scene(torch.stack(pieces), torch.arange(SAMPLES) % LABELS, seed=2)


@pytest.fixture(scope="module")
def seen(scene: Scene) -> dict[str, Seen]:
    return {name.strip(): one for name, one in views(scene)}


def test_one_gradient_gives_away_labels_and_images(scene: Scene, seen: dict[str, Seen]) -> None:
    leak = scene.leak(seen["gradient of one mini-batch (all off)"])
    assert leak.labels == 1
    assert leak.images > 0.9 > leak.images_guessed + 0.1


def test_with_secure_sums_labels_and_images_are_no_better_than_guessed(scene: Scene, seen: dict[str, Seen]) -> None:
    leak = scene.leak(seen["epochs, mask, clipped, secure sum of 10 (--secure --groups 1)"])
    assert leak.labels < leak.labels_guessed + 0.15
    assert leak.images < leak.images_guessed


def test_without_the_secure_sum_labels_are_given_away_by_a_change_too(scene: Scene, seen: dict[str, Seen]) -> None:
    leak = scene.leak(seen["epochs, mask, clipped (no secure sum)"])
    assert leak.labels > leak.labels_guessed + 0.3
    assert leak.images < leak.images_guessed


@pytest.mark.parametrize("tag", ["clipped and noised", "masked for the secure sum"])
def test_noise_and_pairwise_masks_hide_a_gradient(scene: Scene, seen: dict[str, Seen], tag: str) -> None:
    leak = scene.leak(seen[tag])
    assert leak.labels < 0.5
    assert leak.images < 0.1


def test_label_counts_of_one_gradient_are_exact_on_another_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 10))
    y_N = torch.randint(0, 10, (16,))
    F.cross_entropy(network(torch.randn(16, 20)), y_N).backward()  # type: ignore[no-untyped-call]
    bias = network[2].bias
    assert isinstance(bias, nn.Parameter)
    assert bias.grad is not None
    with torch.no_grad():
        probability_K = network(torch.randn(256, 20)).softmax(1).mean(0)
    share_K = label_shares(-bias.grad, probability_K, is_gradient=True)
    assert torch.equal(rounded_counts(share_K, 16), torch.bincount(y_N, minlength=10))


def test_a_matrix_of_low_rank_is_completed_from_what_lies_on_a_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    whole_HD = torch.randn(60, 2, generator=generator) @ torch.randn(2, 400, generator=generator)
    mask_HD = torch.rand(60, 400, generator=generator) < 0.3
    assert float(similarity(completed(whole_HD * mask_HD, mask_HD, 2), whole_HD).min()) > 0.99


def test_sums_of_changing_groups_give_each_client_away_and_those_of_one_group_do_not() -> None:
    generator = np.random.default_rng(0)
    change_KP = generator.normal(size=(10, 50)).astype(np.float32)
    fixed = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    drawn = [group.tolist() for _ in range(12) for group in np.array_split(generator.permutation(10), 3)]
    for groups, is_found in ((drawn, True), (6 * fixed, False)):
        found_KP = disaggregated(groups, [change_KP[group].mean(0) for group in groups], 10)
        assert np.allclose(found_KP, change_KP, atol=1e-4) == is_found
    assert np.allclose(found_KP[0], change_KP[:5].mean(0), atol=1e-4)


def test_what_is_flattened_and_summed_in_secret_comes_back_as_the_mean(scene: Scene) -> None:
    generator = np.random.default_rng(0)
    parts = [scene.gradient(indices_N[:4], scene.masks) for indices_N in scene.clients]
    vectors = [flat(part, scene.masks) for part in parts]
    assert len(vectors[0]) < sum(one.numel() for one in parts[0].values()) / 10
    mean = unflat(secure_sum(vectors, CLIP, generator)[0], parts[0], scene.masks)
    for name, one in mean.items():
        assert torch.allclose(one, torch.stack([part[name] for part in parts]).mean(0), atol=1e-6)

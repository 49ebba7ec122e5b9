"""Changed images still show what they showed, each in its own way."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekit.assembler.training.augmentation import CHOICES, Augmentation, Mixture, mix
from edgekit.core.errors import BadInputError

amounts = st.floats(0, 1)
augmentations = st.builds(
    Augmentation,
    scale=st.tuples(st.floats(0.3, 1.0), st.floats(1.0, 1.3)),
    **{field.name: amounts for field in fields(Augmentation) if field.name not in {"scale", "tilt", "mirror"}},
    tilt=st.floats(0, 45),
    mirror=st.booleans(),
)
uniform = st.floats(0, 1, exclude_max=True)


def images(n: int, *, size: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def middle(n: int = 1) -> Tensor:
    """A draw that changes nothing where changes go either way."""
    return torch.full((n, CHOICES), 0.5)


@given(augmentation=augmentations, seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_images_stay_images(augmentation: Augmentation, seed: int) -> None:
    x_NCHW = images(4, seed=seed)
    before = x_NCHW.clone()
    changed = augmentation.change(x_NCHW, augmentation.draw(4, torch.Generator().manual_seed(seed)))
    assert changed.shape == x_NCHW.shape
    assert changed.dtype == torch.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert torch.equal(x_NCHW, before), "the data itself was changed"


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_without_augmentation_images_stay_as_they_are(seed: int) -> None:
    none, x_NCHW = Augmentation(), images(3, seed=seed)
    assert torch.equal(none.change(x_NCHW, none.draw(3, torch.Generator().manual_seed(seed))), x_NCHW)


@given(augmentation=augmentations, seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_in_place_every_object_keeps_its_size_and_place(augmentation: Augmentation, seed: int) -> None:
    in_place = replace(augmentation.in_place, mirror=False, noise=0.0, light=0.0, contrast=0.0, saturation=0.0)
    x_NCHW = images(3, seed=seed)
    assert torch.equal(in_place.change(x_NCHW, in_place.draw(3, torch.Generator().manual_seed(seed))), x_NCHW)
    assert augmentation.in_place.mix == augmentation.mix


@given(augmentation=augmentations, seed=st.integers(0, 2**31), first=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_an_image_is_changed_alike_whatever_lies_beside_it(augmentation: Augmentation, seed: int, first: int) -> None:
    """So that several processes, and parts of a batch, train as one batch does."""
    x_NCHW = images(6, seed=seed)
    drawn_NR = augmentation.draw(6, torch.Generator().manual_seed(seed))
    whole = augmentation.change(x_NCHW, drawn_NR)
    parts = [augmentation.change(x_NCHW[part], drawn_NR[part]) for part in (slice(0, first), slice(first, 6))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)


def test_images_of_one_batch_are_changed_each_in_its_own_way() -> None:
    augmentation = Augmentation(noise=0.5)
    x_NCHW = torch.full((8, 3, 8, 8), 0.5)
    changed = augmentation.change(x_NCHW, augmentation.draw(8, torch.Generator().manual_seed(1)))
    patterns = (changed - 0.5).flatten(1)
    likeness = torch.corrcoef(patterns) - torch.eye(8)
    assert likeness.abs().max() < 0.4, "two images have the same noise"
    assert patterns.mean().abs() < 0.02


def test_mirror_swaps_left_and_right() -> None:
    x_NCHW = images(2)
    drawn_NR = middle(2)
    drawn_NR[0, 12], drawn_NR[1, 12] = 0.2, 0.8
    first, second = Augmentation(mirror=True).change(x_NCHW, drawn_NR)
    torch.testing.assert_close(first, x_NCHW[0].flip(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(second, x_NCHW[1], rtol=0, atol=1e-5)


def test_half_of_the_images_are_mirrored() -> None:
    augmentation = Augmentation(mirror=True)
    x_NCHW = images(1).expand(400, -1, -1, -1)
    changed = augmentation.change(x_NCHW, augmentation.draw(400, torch.Generator().manual_seed(0)))
    mirrored = (changed - x_NCHW.flip(-1)).abs().amax((1, 2, 3)) < 1e-4
    assert 150 < int(mirrored.sum()) < 250


def test_a_smaller_part_lies_inside_the_image() -> None:
    """Of a picture whose pixels say where they are, no place beyond the border is ever shown."""
    ramp = torch.linspace(0, 1, 16)
    x_NCHW = torch.stack([ramp.expand(16, 16), ramp[:, None].expand(16, 16), torch.zeros(16, 16)])[None]
    augmentation = Augmentation(scale=(0.5, 0.5))
    drawn_NR = augmentation.draw(64, torch.Generator().manual_seed(0))
    shown = augmentation.change(x_NCHW.expand(64, -1, -1, -1), drawn_NR)
    across = shown[:, 0, 0, -1] - shown[:, 0, 0, 0]
    torch.testing.assert_close(across, torch.full((64,), 0.5), rtol=0, atol=0.02)
    assert shown[:, 0].mean((1, 2)).std() > 0.1, "always the same part"


@pytest.mark.parametrize(
    ("changes", "column"), [({"light": 0.5}, 9), ({"contrast": 0.5}, 10), ({"saturation": 0.5}, 8), ({"blur": 1.0}, 7)]
)
def test_more_and_less(changes: dict[str, float], column: int) -> None:
    """Light moves the mean; contrast, saturation and blur keep it and move the spread of what they are about."""
    x_NCHW = 0.4 + 0.2 * images(1)
    low, high = (middle().index_fill(1, torch.tensor([column]), value) for value in (0.1, 0.9))
    darker, brighter = (Augmentation(**changes).change(x_NCHW, drawn_NR) for drawn_NR in (low, high))
    if "light" in changes:
        assert darker.mean() < x_NCHW.mean() < brighter.mean()
        return
    torch.testing.assert_close(darker.mean(), brighter.mean(), rtol=0, atol=5e-3)
    if "saturation" in changes:
        assert darker.std(1).mean() < x_NCHW.std(1).mean() < brighter.std(1).mean()
    elif "blur" in changes:
        assert torch.equal(darker, x_NCHW), "most images stay sharp"
        assert brighter.std() < x_NCHW.std()
    else:
        assert darker.std() < x_NCHW.std() < brighter.std()


@given(amount=uniform, seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_mixup_is_a_weighted_mean_of_neighbours(amount: float, seed: int) -> None:
    x_NCHW = images(4, seed=seed)
    mixed_NCHW, mixture = mix(x_NCHW, (0.0, amount, 0.0, 0.0))
    assert 0.5 <= mixture.share <= 1, "an image is mostly itself"
    expected = torch.stack([mixture.share * x_NCHW[n] + (1 - mixture.share) * x_NCHW[n ^ 1] for n in range(4)])
    torch.testing.assert_close(mixed_NCHW, expected, rtol=0, atol=1e-6)


@given(amount=uniform, across=uniform, down=uniform)
@settings(max_examples=50, deadline=None)
def test_cutmix_shares_labels_by_the_area_of_its_patch(amount: float, across: float, down: float) -> None:
    x_NCHW = torch.arange(4.0)[:, None, None, None].expand(-1, 3, 20, 20).contiguous()
    before = x_NCHW.clone()
    mixed_NCHW, mixture = mix(x_NCHW, (0.9, amount, across, down))
    assert torch.equal(x_NCHW, before)
    for n, image_CHW in enumerate(mixed_NCHW):
        assert set(image_CHW.unique().tolist()) <= {float(n), float(n ^ 1)}, "a pixel of neither"
        assert (image_CHW == n).float().mean() == pytest.approx(mixture.share, abs=1e-6)
        patch = (image_CHW[0] != n).nonzero()
        if len(patch):
            height, width = (patch.amax(0) - patch.amin(0) + 1).tolist()
            assert height == width
            assert height * width == len(patch), "not one square"
    assert 0.5 - 0.06 <= mixture.share <= 1, "beyond half by no more than a pixel's rounding"


def test_neighbours_are_pairs() -> None:
    assert Mixture.neighbours(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]


def test_a_table_reads_as_written() -> None:
    table = {"scale": [0.6, 1], "mirror": True, "tilt": 8, "mix": 0.25}
    assert Augmentation.from_toml(table) == Augmentation(scale=(0.6, 1), mirror=True, tilt=8, mix=0.25)
    assert Augmentation.from_toml({}) == Augmentation()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"tlit": 3}, 'unknown key "tlit"'),
        ({"scale": 0.5}, "a pair of numbers"),
        ({"scale": [0.5]}, "a pair of numbers"),
        ({"scale": [1.2, 0.5]}, "the smaller first"),
        ({"scale": [0, 1]}, "above 0"),
        ({"scale": [0.5, "1"]}, "a pair of numbers"),
        ({"mirror": 1}, "true or false"),
        ({"tilt": True}, "a number from 0"),
        ({"tilt": [1, 2]}, "a number from 0"),
        ({"tilt": -1}, "a number from 0"),
        ({"noise": float("nan")}, "a number from 0"),
        ({"light": float("inf")}, "a number from 0"),
        ({"mix": 1.1}, "a number from 0 to 1"),
        ({"blur": "much"}, "a number from 0 to 1"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(table: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInputError, match=expected):
        Augmentation.from_toml(table)

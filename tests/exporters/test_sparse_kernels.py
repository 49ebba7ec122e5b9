"""That these are the networks of which LiteRT on Arm does less work, and that others stay right, tests/lab tells."""

from __future__ import annotations

from typing import Any

import pytest
from exported_networks import Exported
from sparse_networks import pruned_network

from edgekit.exporters.sparse import sparsify
from edgekit.exporters.sparse_kernels import sparse_obstacle


def test_a_mobilenet_fits_from_two_thirds_of_zeros_on() -> None:
    assert sparse_obstacle(pruned_network(zeros=0.8)) is None
    reason = sparse_obstacle(pruned_network(zeros=0.6))
    assert reason is not None
    assert "two thirds" in reason


def test_storing_weights_sparse_changes_nothing_about_it() -> None:
    for zeros in (0.6, 0.8):
        dense = pruned_network(zeros=zeros)
        sparse = sparsify(dense)
        assert len(sparse) < len(dense)
        assert sparse_obstacle(sparse) == sparse_obstacle(dense)


@pytest.mark.parametrize(
    ("network", "part"),
    [
        ({"stem_stride": 1}, "operator 0 (CONV_2D) is a 3x3 convolution of 3 channels, stride 1, padding 1:"),
        ({"side": 33}, "operator 0 (CONV_2D) is a 3x3 convolution of 3 channels, stride 2, padding that depends on"),
        ({"inserted": "3x3"}, "(CONV_2D) is a 3x3 convolution of 24 channels, stride 1, padding 1:"),
        ({"inserted": "max pool"}, "(MAX_POOL_2D) is not among those that fit"),
        ({"end": "map"}, "no MEAN over height and width ends the convolutions"),
        ({"end": "1x1 behind the mean"}, "(CONV_2D) comes behind the last mean"),
        ({"end": "two dense"}, "(FULLY_CONNECTED) comes behind the last mean"),
    ],
    ids=str,
)
def test_it_names_the_first_operator_that_does_not_fit(network: dict[str, Any], part: str) -> None:
    reason = sparse_obstacle(pruned_network(zeros=0.9, **network))
    assert reason is not None
    assert part in reason


def test_int8_does_not_fit(plain: Exported) -> None:
    reason = sparse_obstacle(plain.int8.path.read_bytes())
    assert reason is not None
    assert "does not compute in float32" in reason


def test_networks_that_xnnpack_would_compute_wrongly_or_refuse_stay_dense() -> None:
    cases: tuple[dict[str, Any], ...] = ({"inserted": "3x3"}, {"end": "1x1 behind the mean"}, {"end": "two dense"})
    for network in cases:
        risky = pruned_network(zeros=0.9, **network)
        assert sparsify(risky) == risky
    for harmless in (
        pruned_network(zeros=0.6, inserted="3x3"),  # too few zeros for sparse kernels
        pruned_network(zeros=0.9, stem_stride=1),  # nothing for them to begin with
    ):
        assert len(sparsify(harmless)) < len(harmless)

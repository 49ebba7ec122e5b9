from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_surroundings import context_of, give_statistics, model_of, relative_difference, trace_of
from torch import Tensor, nn

from edgekit.passes.batch_norm_folding import fold_batch_norms
from edgekit.passes.fold import FoldBatchNorm


def norms(module: nn.Module) -> int:
    return sum(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in module.modules())


@st.composite
def networks(draw: st.DrawFn) -> nn.Sequential:
    """Convolutions of all sorts, each with normalisation behind it; all of it can be folded."""
    layers: list[nn.Module] = []
    channels = 4
    for _ in range(draw(st.integers(1, 3))):
        outputs = draw(st.sampled_from([4, 8, 12]))
        kernel = draw(st.sampled_from([1, 3, 5]))
        convolution = draw(st.sampled_from([nn.Conv2d, nn.ConvTranspose2d]))
        groups = draw(st.sampled_from([1, 2, 4]))
        layers += [
            convolution(
                channels,
                outputs,
                kernel,
                stride=draw(st.sampled_from([1, 2])),
                padding=kernel // 2,
                groups=groups,
                bias=draw(st.booleans()),
            ),
            nn.BatchNorm2d(outputs, affine=draw(st.booleans())),
            nn.ReLU(),
        ]
        channels = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 6, bias=draw(st.booleans()))]
    return nn.Sequential(*layers, nn.BatchNorm1d(6))


@settings(max_examples=25, deadline=None)
@given(network=networks(), seed=st.integers(0, 2**16))
def test_nothing_changes_but_the_normalisation_is_gone(network: nn.Sequential, seed: int) -> None:
    torch.manual_seed(seed)
    give_statistics(network, seed)
    module = trace_of(network)
    folded, left = fold_batch_norms(module, (4, 9, 9))
    assert (len(folded), left) == (norms(network), {})
    assert norms(module) == 0
    # Ten images: what cancels to nearly nothing in one of them has no relative error to speak of.
    assert relative_difference(trace_of(network), module, torch.randn(10, 4, 9, 9)) < 1e-5


@given(pads=st.booleans(), groups=st.sampled_from([1, 2, 4]), seed=st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_normalisation_before_a_convolution_is_folded_where_no_padding_is_between(
    pads: bool, groups: int, seed: int
) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, padding=int(pads), groups=groups))
    give_statistics(network, seed)
    module = trace_of(network)
    _, left = fold_batch_norms(module, (4, 6, 6))
    assert norms(module) == len(left) == int(pads)
    assert relative_difference(trace_of(network), module, torch.randn(10, 4, 6, 6)) < 1e-5


def test_the_pass_leaves_its_model_as_it_was_and_says_what_it_folded() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    give_statistics(network, 3)
    model = model_of(network, (4, 6, 6))
    result = FoldBatchNorm()(model, context_of(model))
    assert (norms(model.module), norms(result.model.module)) == (1, 0)
    assert [(row.layer, dict(row.cells)) for row in result.layers] == [("1", {"folded into": "0"})]
    assert relative_difference(model.module, result.model.module, torch.randn(10, 4, 6, 6)) < 1e-5
    assert not FoldBatchNorm()(result.model, context_of(result.model)).modified


class TwoReaders(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.convolution(x_NCHW)
        z_NCHW: Tensor = self.norm(y_NCHW) + y_NCHW
        return z_NCHW


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = self.convolution(self.norm(self.convolution(x_NCHW)))
        return y_NCHW


def test_what_others_read_is_left() -> None:
    for network in (TwoReaders(), Twice()):
        give_statistics(network, 1)
        model = model_of(network, (4, 5, 5))
        result = FoldBatchNorm()(model, context_of(model))
        assert not result.modified
        assert result.notes == ("norm stays: no layer beside it can take it over.",)


def test_masked_weights_stay_zero_and_their_masks_stay() -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))
    give_statistics(network, 2)
    kept = torch.rand(8, 4, 3, 3) > 0.5
    network[0].weight.data *= kept
    masks = {"0.weight": kept, "1.weight": torch.ones(8, dtype=torch.bool)}
    model = model_of(network, (4, 8, 8), masks)
    result = FoldBatchNorm()(model, context_of(model))
    assert set(result.model.masks) == {"0.weight"}
    assert not result.model.module.get_parameter("0.weight")[~kept].any()


def test_linear_over_a_sequence_is_left_because_normalisation_runs_along_its_steps() -> None:
    network = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(3))
    model = model_of(network, (3, 5))
    assert not FoldBatchNorm()(model, context_of(model)).modified

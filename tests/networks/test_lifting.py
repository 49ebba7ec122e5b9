"""Networks of all kinds become standard layers that compute the same at any batch and can be trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_zoo import NETWORKS, made, torch_export
from torch import Tensor, fx, nn

from edgekit.core.errors import ConversionError
from edgekit.core.graph import TensorSpec
from edgekit.networks.exported import exported, program_of
from edgekit.networks.layers import layers_of
from edgekit.networks.lifting import lifted
from edgekit.networks.program import Program, Reference, Step


def check_same(module: fx.GraphModule, network: nn.Module, shape: tuple[int, ...]) -> None:
    """At batch 1 and 5, each input being judged alone; gradients reach all parameters."""
    for batch in (1, 5):
        x_N = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = torch.cat([network(one.clone()) for one in torch.split(x_N, 1)])
            assert torch.allclose(module(x_N.clone()), expected, atol=1e-5, rtol=1e-5)
    module(torch.randn(3, *shape)).square().sum().backward()
    assert [name for name, weight in module.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_the_same_at_any_batch_and_can_be_trained(name: str) -> None:
    network, shape = made(name)
    module = lifted(program_of(torch_export(name)))
    assert not module.training
    check_same(module, network, shape)
    count = sum(weight.numel() for weight in network.parameters())
    assert sum(weight.numel() for weight in module.parameters()) == count


def test_layers_keep_their_names_norms_and_activations() -> None:
    network, _ = made("mobile")
    module = lifted(program_of(torch_export("mobile")))
    layers = {layer.name: layer for layer in layers_of(module)}
    assert set(layers) == {name for name, one in network.named_modules() if isinstance(one, (nn.Conv2d, nn.Linear))}
    assert layers["blocks.0.layers.3"].batch_norm == "blocks.0.layers.4"
    assert isinstance(module.get_submodule(str(layers["blocks.0.layers.3"].activation)), nn.ReLU6)
    assert module.get_submodule("blocks.0.layers.3").groups == 16
    assert dict(module.named_parameters()).keys() == dict(network.named_parameters()).keys()


def test_norms_learn_again_in_training_mode() -> None:
    _, shape = made("mobile")
    module = lifted(program_of(torch_export("mobile"))).train()
    norm = module.get_submodule("stem.1")
    before = norm.running_mean.clone()
    module(torch.randn(4, *shape))
    assert not torch.equal(before, norm.running_mean)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_random_networks_compute_the_same(data: st.DataObject) -> None:
    """The program is written down here, in both of torch's forms, and judged by the modules."""
    channels = 3
    layers: list[nn.Module] = []
    steps: list[Step] = []
    constants: dict[str, Tensor] = {}
    batch, decomposed = data.draw(st.integers(1, 3)), data.draw(st.booleans())

    def add(operator: str, layer: nn.Module, **arguments: object) -> None:
        place = len(layers)
        held = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
        constants.update({f"net.{place}.{name}": value.detach() for name, value in held.items()})
        references = {
            name: Reference(f"net.{place}.{name}") if name in held else None
            for name in ("weight", "bias", "running_mean", "running_var")
            if name in held or (name == "bias" and "weight" in held) or isinstance(layer, nn.BatchNorm2d)
        }
        reads = "input" if references or isinstance(layer, nn.BatchNorm2d) else "self"
        given = {reads: Reference(steps[-1].name if steps else "x"), **references, **arguments}
        layers.append(layer)
        steps.append(Step(name=f"step {place}", operator=operator, arguments=given))

    for _ in range(data.draw(st.integers(1, 4))):
        kernel, width = data.draw(st.sampled_from([1, 2, 3, 5])), data.draw(st.sampled_from([2, 4, 6]))
        groups = 2 if channels % 2 == 0 and data.draw(st.booleans()) else 1
        same = not decomposed and kernel < 5 and data.draw(st.booleans())
        padding, stride = ("same", 1) if same else (kernel // 2, data.draw(st.integers(1, 2)))
        dilation = data.draw(st.integers(1, 2)) if kernel == 3 else 1
        conv = nn.Conv2d(channels, width, kernel, stride, padding, dilation, groups, bias=data.draw(st.booleans()))
        given = {
            "stride": [stride],
            "padding": padding if same else [padding],
            "dilation": [dilation],
            "groups": groups,
        }
        if decomposed:
            add("convolution.default", conv, **given, transposed=False, output_padding=[0, 0])
        else:
            add("conv2d.padding" if same else "conv2d.default", conv, **given)
        if data.draw(st.booleans()):
            norm = nn.BatchNorm2d(width, affine=data.draw(st.booleans()))
            nn.init.uniform_(norm.running_mean), nn.init.uniform_(norm.running_var, 0.5, 2)
            add("batch_norm.default", norm, training=False, momentum=0.1, eps=1e-5, cudnn_enabled=False)
        kinds = {
            "relu_": nn.ReLU(),
            "hardswish": nn.Hardswish(),
            "silu": nn.SiLU(),
            "sigmoid": nn.Sigmoid(),
            "gelu": nn.GELU(),
        }
        kind = data.draw(st.sampled_from(sorted(kinds)))
        add(f"{kind}.default", kinds[kind])
        channels = width
    add("adaptive_avg_pool2d.default", nn.AdaptiveAvgPool2d(2), output_size=[2, 2])
    add("view.default", nn.Flatten(), size=[batch, 4 * channels])
    add("dropout.default", nn.Dropout(), p=0.5, train=False)
    add("linear.default", nn.Linear(4 * channels, 3))
    steps[-2] = replace(steps[-2], arguments={"input": Reference(steps[-3].name), "p": 0.5, "train": False})
    spec = TensorSpec(name="x", shape=(batch, 3, 24, 24), dtype="float32", scale=None, zero_point=None)
    written = Program(inputs=(spec,), steps=tuple(steps), outputs=(steps[-1].name,), constants=constants)
    network = nn.Sequential(*layers).eval()
    module = lifted(written)
    check_same(module, network, (3, 24, 24))
    assert {name for name, _ in module.named_parameters()} == {f"net.{name}" for name, _ in network.named_parameters()}


class Pair(nn.Module):
    def forward(self, x_NI: Tensor) -> tuple[Tensor, Tensor]:
        return x_NI, x_NI + 1


class Joined(nn.Module):
    def forward(self, x_NI: Tensor) -> Tensor:
        return x_NI.reshape(-1)


class Sorted(nn.Module):
    def forward(self, x_NI: Tensor) -> Tensor:
        return torch.sort(x_NI, 1).values


class Written(nn.Module):
    """Writes in place what another view reads."""

    def forward(self, x_NI: Tensor) -> Tensor:
        y_NI = x_NI * 2
        first_N = y_NI[:, 0]
        y_NI.relu_()
        return y_NI + first_N[:, None]


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Pair(), "1 inputs and 2 outputs"),
        (Joined(), "not the batch"),
        (Sorted(), r"sort.default \(at sort\) is not supported"),
        (Written(), "through another view"),
    ],
)
def test_what_cannot_be_read_is_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(ConversionError, match=reason) as caught:
        lifted(exported(network, (4,)))
    assert caught.value.hint


def test_training_mode_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    with pytest.raises(ConversionError, match="training mode"):
        lifted(exported(network, (3, 4, 4)))


def program(operator: str, name: str = "weight", **arguments: object) -> Program:
    spec = TensorSpec(name="x", shape=(1, 3), dtype="float32", scale=None, zero_point=None)
    step = Step(name="y", operator=operator, arguments={"self": Reference("x"), **arguments})
    return Program(
        inputs=(spec,), steps=(step,), outputs=("y",), constants={name: torch.ones(3)}, parameters=frozenset({name})
    )


def test_a_tensor_too_large_for_a_board_is_refused_before_it_is_made() -> None:
    with pytest.raises(ConversionError, match="numbers"):
        lifted(program("pad.default", pad=[0, 1 << 40]))


@pytest.mark.parametrize("name", ['a"); raise SystemExit(7) #', "class", "forward", "training", "a..b", "üm.läut", ""])
def test_no_name_in_a_file_can_harm_the_code_of_the_module(name: str) -> None:
    module = lifted(program("mul.Tensor", name, other=Reference(name)))
    assert torch.equal(module(torch.full((2, 3), 2.0)), torch.full((2, 3), 2.0))
    assert len(list(module.parameters())) == 1


@pytest.mark.parametrize(
    "operator", ["set_.source_Tensor", "from_file.default", "mylib.op.default", "_operator.pow", "relu"]
)
def test_operators_outside_the_tables_are_never_looked_up(operator: str) -> None:
    with pytest.raises(ConversionError, match="is not supported"):
        lifted(program(operator))


@pytest.mark.parametrize("arguments", [{"other": 1}, {"negative_slope": "a"}, {"negative_slope": None}])
def test_calls_that_do_not_fit_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConversionError, match=r"leaky_relu.default.*\(at y\)"):
        lifted(program("leaky_relu.default", **arguments))

"""Layers of a graph module in execution order, what follows each, and what flows into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.GELU, nn.Tanh)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A convolution or linear layer called once in the graph, and the normalisation and activation that alone read it."""

    name: str
    module: nn.Conv2d | nn.Linear
    batch_norm: str | None
    activation: str | None


def layers_of(module: fx.GraphModule) -> tuple[Layer, ...]:
    """Its nn.Conv2d and nn.Linear, in execution order; a layer that is called several times is left out."""
    modules = dict(module.named_modules())
    calls = [str(node.target) for node in module.graph.nodes if node.op == "call_module"]
    found = []
    for node in module.graph.nodes:
        if node.op != "call_module" or calls.count(str(node.target)) > 1:
            continue
        layer = modules[str(node.target)]
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        norm = _only_reader(node, modules, (_BatchNorm,))
        activation = _only_reader(norm or node, modules, ACTIVATIONS)
        found.append(
            Layer(
                name=str(node.target),
                module=layer,
                batch_norm=None if norm is None else str(norm.target),
                activation=None if activation is None else str(activation.target),
            )
        )
    return tuple(found)


def _only_reader(node: fx.Node, modules: dict[str, nn.Module], kinds: tuple[type[nn.Module], ...]) -> fx.Node | None:
    if len(node.users) != 1:
        return None
    (reader,) = node.users
    fits = reader.op == "call_module" and isinstance(modules[str(reader.target)], kinds)
    return reader if fits else None


def batches(x_N: Tensor, size: int = 256) -> Iterator[Tensor]:
    yield from torch.split(x_N, size)


@contextmanager
def watching(module: nn.Module, names: Sequence[str], see: Callable[[str, Tensor, Tensor], None]) -> Iterator[None]:
    """While it lasts, `see(name, input, output)` is called whenever one of the named modules runs."""
    modules = dict(module.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda _module, given, y, name=name: see(name, given[0], y))
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run(module: nn.Module, x_N: Tensor, *, batch: int = 256) -> Tensor:
    """Its outputs (N, ...) in eval mode, without gradients; the mode is restored."""
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        outputs = torch.cat([module(some) for some in batches(x_N, batch)])
    module.train(was_training)
    return outputs


def recalibrate(module: nn.Module, x_batches: Iterable[Tensor]) -> None:
    """Sets the running statistics of every normalisation layer anew, from its own inputs alone; weights stay.

    The mean over all batches counts each alike: give batches of one size. Ends in eval mode.
    """
    norms = [one for one in module.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for x_N in x_batches:
            module(x_N)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


def replaced(module: fx.GraphModule, name: str, new: nn.Module) -> None:
    """Puts `new` in the place of the named submodule; the graph calls it from then on."""
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, new)

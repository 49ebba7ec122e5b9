"""Net-Trim on a network: layer by layer, in execution order.

What a neuron is solved for is its pre-activation, behind the normalisation that alone reads it: `scale (w' x + b - mean) + beta`.
The scale is absorbed into the weights, u = scale w, which makes the 1-norm count a weight by what it does behind the
normalisation; all that is constant moves into the target. Where a ReLU follows, outputs above zero are targets and all others are
bounded from above; no other activation bounds anything: everything is a target. A linear layer without a normalisation gets a row
of ones, and its bias is pruned with its weights.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.core.errors import ConversionError
from edgekit.networks.description import describe
from edgekit.networks.layers import Layer, batches, layers_of, recalibrate, watching
from edgekit.passes.contract import Context, LayerRow, PassResult
from edgekit.passes.net_trim import Spread
from edgekit.pruning.masks import counts_of, erk_shares
from edgekit.pruning.net_trim.certificate import certify
from edgekit.pruning.net_trim.layer import How, Trimmed, sparsity_of, trim, trim_to_sparsity
from edgekit.pruning.net_trim.matrices import inputs_at, matrix_of, outputs_at, positions_of, set_matrix
from edgekit.pruning.net_trim.samples import Block, Samples, merged

if TYPE_CHECKING:
    from edgekit.core.model import Model
    from edgekit.passes.net_trim import NetTrim

_POSITIVE: Final = 1e-6
_BATCH: Final = 64
_TOLERANCE: Final = 2e-4
_IN_MEMORY_BYTES: Final = 2**29
_CASCADE_SLACK: Final = 1.1**0.5


class _SeenError(Exception):
    """Ends a forward pass where the rest of the network is not needed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Affine:
    """What the normalisation and a fixed bias make of `w' x`: `scale_M (w' x) + shift_M`."""

    scale_M: Tensor
    shift_M: Tensor
    bias_in_matrix: bool


def trim_network(model: Model, context: Context, options: NetTrim) -> PassResult:
    """Raises ConversionError for a module without convolutions and linear layers that it can prune."""
    if not isinstance(model.module, fx.GraphModule):
        raise ConversionError("prune::net_trim works on a traced network", hint="import the model with edgekit first")
    pruned = copy.deepcopy(model.module).eval()
    layers = [layer for layer in layers_of(pruned) if not _grouped(layer.module)]
    if not layers:
        raise ConversionError("the network has no layer that prune::net_trim can prune", hint="leave the pass out")
    trimmer = _Trimmer(model.module, pruned, context, options, model.masks, _sparsities(layers, options))
    rows, left_out = [], []
    for number, layer in enumerate(layers):
        if context.late:
            left_out.append(layer.name)
            continue
        if options.sparsity is not None and trimmer.stays_dense(layer):
            continue
        context.progress(f"net_trim {number + 1}/{len(layers)} {layer.name}")
        rows.append(trimmer.trim(layer, first=number == 0))
    if options.recalibrate:
        recalibrate(pruned, batches(context.calibration.x_N[: options.images], _BATCH))
    result = replace(
        model,
        module=pruned,
        operators=describe(pruned, model.input_shape).operators,
        masks={**model.masks, **trimmer.masks},
    )
    return PassResult(
        model=result, modified=bool(rows), layers=tuple(rows), notes=_notes(rows, layers, pruned, left_out)
    )


def _sparsities(layers: Sequence[Layer], options: NetTrim) -> dict[str, float]:
    """Of each layer, where a sparsity is asked for; 0 for one that is to stay dense."""
    if options.sparsity is None or options.spread is Spread.UNIFORM:
        return {layer.name: options.sparsity or 0.0 for layer in layers}
    shapes = {layer.name: tuple(layer.module.weight.shape) for layer in layers}
    sizes = {layer.name: layer.module.weight.numel() for layer in layers}
    total = max(len(sizes), round((1 - options.sparsity) * sum(sizes.values())))
    counts = counts_of(erk_shares(shapes), sizes, total)
    return {name: 1 - counts[name] / size for name, size in sizes.items()}


class _Trimmer:
    def __init__(
        self,
        original: fx.GraphModule,
        pruned: fx.GraphModule,
        context: Context,
        options: NetTrim,
        masks: Mapping[str, Tensor],
        sparsities: Mapping[str, float],
    ) -> None:
        self._sparsities = sparsities
        self._original, self._pruned, self._context, self._options = original, pruned, context, options
        self._given_masks = masks
        self._how = How(
            reweightings=options.reweightings, refit=options.refit, tolerance=_TOLERANCE, late=lambda: context.late
        )
        self.masks: dict[str, Tensor] = {}

    def stays_dense(self, layer: Layer) -> bool:
        return self._sparsities[layer.name] == 0

    def trim(self, layer: Layer, *, first: bool) -> LayerRow:
        started = time.monotonic()
        affine = _affine(self._original, layer)
        w_NM = matrix_of(layer.module)
        if affine.bias_in_matrix:
            w_NM = torch.cat([w_NM, _bias(layer.module)[None]])
        # A neuron that its normalisation multiplies by zero has weights of no effect, and none are kept.
        u_NM = w_NM * affine.scale_M
        blocks = self._blocks(layer, affine, u_NM, first=first)
        if self._bytes(u_NM) <= _IN_MEMORY_BYTES:
            trimmed = self._solved(layer, Samples([merged(blocks)]), u_NM)
        else:
            with tempfile.TemporaryDirectory() as folder:
                trimmed = self._solved(layer, Samples(blocks, folder=Path(folder)), u_NM)
        self._apply(layer, affine, trimmed.u_NM)
        return _row(layer, trimmed, u_NM, time.monotonic() - started)

    def _solved(self, layer: Layer, samples: Samples, u_NM: Tensor) -> Trimmed:
        options, allowed_NM = self._options, self._allowed(layer, u_NM)
        if options.sparsity is not None:
            sparsity = self._sparsities[layer.name]
            return trim_to_sparsity(samples, u_NM, sparsity, how=self._how, allowed_NM=allowed_NM)
        # In the cascade the weights themselves miss their target: eps leaves room for that, or nothing would be feasible.
        own = certify(samples, u_NM, 1.0).error
        eps = max(options.gain * samples.on_norm, _CASCADE_SLACK * own)
        return trim(samples, u_NM, eps, how=self._how, allowed_NM=allowed_NM)

    def _blocks(self, layer: Layer, affine: _Affine, u_NM: Tensor, *, first: bool) -> Iterator[Block]:
        x_N = self._context.calibration.x_N[: self._options.images]
        per_input = -(-self._options.samples // len(x_N))
        generator = torch.Generator().manual_seed(self._context.seed)
        cascade = self._options.mode == "cascade" and not first
        bounded = _is_relu(self._original, layer)
        left = self._options.samples
        for some in batches(x_N, _BATCH):
            given, answered = _seen(self._original, layer, some)
            at_NS = torch.stack(
                [
                    torch.randperm(positions_of(layer.module, answered), generator=generator)[:per_input]
                    for _ in range(len(some))
                ]
            )
            if cascade:
                given, _ = _seen(self._pruned, layer, some)
            x_PN = inputs_at(layer.module, given, at_NS)[:left]
            target_PM = outputs_at(layer.module, answered, at_NS)[:left].double()
            if affine.bias_in_matrix:
                x_PN = torch.cat([x_PN, torch.ones(len(x_PN), 1)], 1)
            else:
                target_PM = target_PM * affine.scale_M - _bias(layer.module) * affine.scale_M + affine.shift_M
            yield _block(x_PN, target_PM, u_NM, affine.shift_M, bounded=bounded, cascade=cascade)
            left -= len(x_PN)
            if left <= 0:
                return

    def _bytes(self, u_NM: Tensor) -> int:
        """Inputs, bounds and the solver's state in float32."""
        inputs, neurons = u_NM.shape
        return 4 * self._options.samples * (inputs + 3 * neurons)

    def _allowed(self, layer: Layer, u_NM: Tensor) -> Tensor:
        """What the masks of earlier passes leave."""
        allowed_NM = torch.ones_like(u_NM, dtype=torch.bool)
        inputs = layer.module.weight[0].numel()
        weights = self._given_masks.get(f"{layer.name}.weight")
        if weights is not None:
            allowed_NM[:inputs] = weights.flatten(1).T
        biases = self._given_masks.get(f"{layer.name}.bias")
        if biases is not None:
            allowed_NM[inputs:] = biases
        return allowed_NM

    def _apply(self, layer: Layer, affine: _Affine, u_NM: Tensor) -> None:
        w_NM = torch.where(affine.scale_M == 0, 0.0, u_NM / torch.where(affine.scale_M == 0, 1.0, affine.scale_M))
        target = self._pruned.get_submodule(layer.name)
        assert isinstance(target, (nn.Conv2d, nn.Linear))  # noqa: S101 (layers_of finds no others)
        inputs = target.weight[0].numel()
        set_matrix(target, w_NM[:inputs])
        self.masks[f"{layer.name}.weight"] = target.weight.detach() != 0
        if affine.bias_in_matrix and target.bias is not None:
            with torch.no_grad():
                target.bias.copy_(w_NM[inputs])
            self.masks[f"{layer.name}.bias"] = target.bias.detach() != 0


def _block(x_PN: Tensor, target_PM: Tensor, u_NM: Tensor, shift_M: Tensor, *, bounded: bool, cascade: bool) -> Block:
    """`target_PM` are pre-activations; those of the original weights bound what is off, where they are above zero."""
    on_PM = target_PM > _POSITIVE if bounded else torch.ones_like(target_PM, dtype=torch.bool)
    ceiling_PM = torch.zeros_like(target_PM)
    if cascade and bounded:
        ceiling_PM = (x_PN.double() @ u_NM + shift_M).clamp(min=0)
    bound_PM = torch.where(on_PM, target_PM, ceiling_PM) - shift_M
    return Block(x_PN=x_PN, bound_PM=bound_PM.float(), on_PM=on_PM)


def _affine(module: fx.GraphModule, layer: Layer) -> _Affine:
    bias_M = _bias(layer.module)
    if layer.batch_norm is None:
        linear = isinstance(layer.module, nn.Linear) and layer.module.bias is not None
        return _Affine(
            scale_M=torch.ones_like(bias_M),
            shift_M=torch.zeros_like(bias_M) if linear else bias_M,
            bias_in_matrix=linear,
        )
    norm = module.get_submodule(layer.batch_norm)
    assert isinstance(norm, _BatchNorm)  # noqa: S101 (layers_of finds no others)
    if norm.running_mean is None or norm.running_var is None:
        raise ConversionError(
            f"{layer.batch_norm} has no running statistics",
            hint="give a network whose normalisation layers track statistics",
        )
    gamma_M = torch.ones_like(bias_M) if norm.weight is None else norm.weight.detach().double()
    beta_M = torch.zeros_like(bias_M) if norm.bias is None else norm.bias.detach().double()
    scale_M = gamma_M / (norm.running_var.double() + norm.eps).sqrt()
    return _Affine(
        scale_M=scale_M, shift_M=scale_M * (bias_M - norm.running_mean.double()) + beta_M, bias_in_matrix=False
    )


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    return torch.zeros(len(layer.weight)).double() if layer.bias is None else layer.bias.detach().double()


def _grouped(layer: nn.Conv2d | nn.Linear) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


def _is_relu(module: fx.GraphModule, layer: Layer) -> bool:
    return layer.activation is not None and isinstance(module.get_submodule(layer.activation), (nn.ReLU, nn.ReLU6))


def _seen(module: fx.GraphModule, layer: Layer, x_N: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's input and output, for these inputs of the network."""
    seen: list[Tensor] = []

    def see(_name: str, given: Tensor, answered: Tensor) -> None:
        seen.extend((given, answered))
        raise _SeenError

    with watching(module, [layer.name], see), torch.no_grad(), suppress(_SeenError):
        module(x_N)
    return seen[0], seen[1]


def _row(layer: Layer, trimmed: Trimmed, before_NM: Tensor, seconds: float) -> LayerRow:
    return LayerRow(
        layer=layer.name,
        cells={
            "weights": trimmed.u_NM.numel(),
            "non-zeros": int((trimmed.u_NM != 0).sum()),
            "sparsity": round(trimmed.sparsity, 4),
            "sparsity before": round(sparsity_of(before_NM), 4),
            "allowed error": round(trimmed.program.eps / (trimmed.program.output_norm or 1.0), 4),
            "constraint ratio": round(trimmed.program.ratio, 5),
            "excess": float(f"{trimmed.program.relative_excess:.1e}"),
            "output ratio": round(trimmed.certificate.output_ratio, 5),
            "certificate": "yes" if trimmed.certified else "no",
            "repair": str(trimmed.repair) + (f", {trimmed.refilled} non-zeros back" if trimmed.refilled else ""),
            "iterations": trimmed.iterations,
            "seconds": round(seconds, 2),
        },
    )


def _notes(rows: list[LayerRow], layers: list[Layer], pruned: fx.GraphModule, left_out: list[str]) -> tuple[str, ...]:
    kept = sum(int(row.cells["non-zeros"]) for row in rows)
    weights = sum(int(row.cells["weights"]) for row in rows)
    certified = sum(row.cells["certificate"] == "yes" for row in rows)
    notes = [
        f"{kept} of {weights} weights are left; {certified} of {len(rows)} layers carry a certificate.",
        "Zeros do not speed up a dense kernel: they pay off in channel pruning, in compressed files and in transfers.",
    ]
    unpruned = {layer.name for layer in layers_of(pruned)} - {layer.name for layer in layers}
    if unpruned:
        notes.append(f"Left as they were because they are grouped: {', '.join(sorted(unpruned))}.")
    if left_out:
        notes.append(f"Left as they were because the time was up: {', '.join(left_out)}.")
    return tuple(notes)

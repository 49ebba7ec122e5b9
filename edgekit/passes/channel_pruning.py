"""From importances to a smaller network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, fx

from edgekit.core.errors import ConversionError
from edgekit.core.model import Model
from edgekit.networks.description import describe
from edgekit.networks.layers import batches, recalibrate, run
from edgekit.passes.channel_allocation import down_to, evenly, interpolated, levels
from edgekit.passes.channel_groups import ChannelGroup, Channels, Work, layer_macs, sound
from edgekit.passes.channel_importance import Ranking, rank
from edgekit.passes.channel_reconstruction import Statistics, eliminate, eliminations, measure
from edgekit.passes.channels import Allocation, Importance
from edgekit.passes.contract import Context, LayerRow, PassResult, Samples
from edgekit.passes.teacher_likeness import Likeness, OutputKind

if TYPE_CHECKING:
    from edgekit.passes.channels import PruneChannels

STATISTICS_ON, RECALIBRATED_ON, MEASURED_ON, BATCH = 512, 1024, 256, 256


def prune(model: Model, context: Context, options: PruneChannels) -> PassResult:
    module = model.module
    if not isinstance(module, fx.GraphModule):
        raise ConversionError(
            f"{options.id} needs the network's graph, and {type(module).__name__} has none",
            hint="import the model with edgekit, or trace it with torch.fx",
        )
    every = Channels(copy.deepcopy(module), model.input_shape).groups()
    groups = sound(module, model.input_shape, every)
    work = Work.of(module, model.input_shape, groups)
    samples = _samples(context, options.importance)
    context.progress(f"ranking the channels of {len(groups)} layers")
    readers = sorted({reader.name for group in groups for reader in group.readers})
    before = measure(module, readers, samples.x_N)
    rankings = rank(module, groups, options.importance, samples, before.moments)
    plan = Plan(model=model, options=options, groups=groups, rankings=rankings, x_N=samples.x_N, before=before)
    notes = _left_alone(every, groups)
    if options.macs_share:
        macs = options.macs_share * sum(layer_macs(context.original.module, model.input_shape).values())
        kept, more = _allocated(plan, context, work, macs)
        notes += more
    else:
        kept = evenly(groups, options.keep, options.multiple)
    if all(kept[group.root] == group.channels for group in groups):
        return PassResult(model=model, modified=False, notes=(*notes, "No channel is removed."))
    pruned, masks = plan.performed(kept, context.progress)
    _recalibrated(pruned, context, RECALIBRATED_ON)
    total, after = work.total({group.root: group.channels for group in groups}), work.total(kept)
    notes += (f"{total / 1e6:.2f} million MACs before, {after / 1e6:.2f} after ({100 * after / total:.0f} %).",)
    return PassResult(
        model=replace(model, module=pruned, masks=masks, operators=describe(pruned, model.input_shape).operators),
        modified=True,
        layers=_rows(work, kept, rankings),
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that decides which channels go but their number; `before` is what the unpruned layers read and answer for `x_N`."""

    model: Model
    options: PruneChannels
    groups: tuple[ChannelGroup, ...]
    rankings: Mapping[str, Ranking]
    x_N: Tensor
    before: Statistics

    def performed(
        self, kept: Mapping[str, int], progress: Callable[[str], None] = lambda _line: None
    ) -> tuple[fx.GraphModule, dict[str, Tensor]]:
        """A copy with so many channels of each group, and its masks.

        Layer by layer in execution order: what reads is fitted to the unpruned network's answers on what it reads by now, so that
        errors of earlier layers are met (He et al., arXiv 1707.06168, section 3.2). Masked layers are not refitted.
        """
        model, original = self.model, cast(fx.GraphModule, self.model.module)
        channels = Channels(copy.deepcopy(original), model.input_shape)
        masks = Channels(_of_masks(model), model.input_shape) if model.masks else None
        statistics = self.before
        for place in self.groups:
            number = place.channels - kept[place.root]
            if number == 0:
                continue
            progress(f"{place.root}: {kept[place.root]} of {place.channels} channels")
            group = channels.group(place.root)
            gone = list(self.rankings[place.root].order[:number])
            if self.options.refit:
                if statistics is not self.before:
                    readers = [reader.name for reader in group.readers]
                    moments = measure(channels.module, readers, self.x_N, statistics.answers).moments
                    statistics = replace(statistics, moments=moments)
                gone = self._refit(channels.module, group, statistics, number)
            channels.remove(place.root, gone)
            statistics = replace(statistics, answers=_without(statistics.answers, group, gone))
            if masks is not None:
                masks.remove(place.root, gone)
        learning = {name: weight.requires_grad for name, weight in original.named_parameters()}
        for name, weight in channels.module.named_parameters():
            weight.requires_grad_(learning[name])
        kept_masks = {name: masks.module.get_parameter(name).detach() > 0 for name in model.masks} if masks else {}
        return channels.module, kept_masks

    def _refit(self, module: fx.GraphModule, group: ChannelGroup, statistics: Statistics, number: int) -> list[int]:
        """Changes the group's readers, and returns the channels that they do without."""
        each = eliminations(group, module, statistics.moments)
        by_cost = self.options.importance is Importance.RECONSTRUCTION
        gone, _ = eliminate(each, group.channels, number, None if by_cost else self.rankings[group.root].order)
        for one, reader in zip(each, group.readers, strict=True):
            if f"{reader.name}.weight" not in self.model.masks:
                one.write()
        return gone


def _allocated(plan: Plan, context: Context, work: Work, macs: float) -> tuple[dict[str, int], tuple[str, ...]]:
    options, rankings = plan.options, plan.rankings
    channels = {group.root: group.channels for group in work.groups}

    def lost(root: str, now: int) -> float:
        return rankings[root].lost(channels[root] - now)

    def saved(kept: Mapping[str, int], root: str, fewer: int) -> float:
        return work.total(kept) - work.total({**kept, root: fewer})

    if options.allocation is Allocation.RANKING:
        return down_to(macs, work, options.multiple, lost, saved), ()
    measured = _measured(plan, context)
    if measured is None:
        note = "The time limit came before every layer's loss was measured: channels are allocated by their ranking."
        return down_to(macs, work, options.multiple, lost, saved), (note,)
    losses, latencies = measured

    def lost_measured(root: str, now: int) -> float:
        return interpolated(losses[root], now)

    def saved_measured(kept: Mapping[str, int], root: str, fewer: int) -> float:
        return interpolated(latencies[root], kept[root]) - interpolated(latencies[root], fewer)

    return down_to(macs, work, options.multiple, lost_measured, saved_measured), ()


def _measured(plan: Plan, context: Context) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]] | None:
    """By root and channels kept, with this layer alone pruned: loss against the unpruned network, and predicted milliseconds."""
    model, x_N = plan.model, context.judging.x_N[:MEASURED_ON]
    wanted_N = run(model.module, x_N)
    classifier = bool(model.labels) or context.judging.y_N is not None
    likeness = Likeness(kind=OutputKind.of(wanted_N, classifier=classifier), temperature=1.0)
    unpruned_ms = context.latency_ms(describe(model.module, model.input_shape).operators)
    everything = {group.root: group.channels for group in plan.groups}
    losses: dict[str, dict[int, float]] = {}
    latencies: dict[str, dict[int, float]] = {}
    for group in plan.groups:
        losses[group.root], latencies[group.root] = {group.channels: 0.0}, {group.channels: unpruned_ms}
        for level in levels(group.channels, plan.options.multiple):
            if context.late:
                return None
            trial, _ = plan.performed({**everything, group.root: level})
            _recalibrated(trial, context, MEASURED_ON)
            loss = float(likeness.loss(run(trial, x_N), wanted_N))
            # More of a layer never costs more than less of it: the rest is chance.
            losses[group.root][level] = max(loss, *losses[group.root].values())
            latencies[group.root][level] = context.latency_ms(describe(trial, model.input_shape).operators)
    return losses, latencies


def _without(
    answers: Mapping[str, Sequence[Tensor]], group: ChannelGroup, gone: Sequence[int]
) -> dict[str, Sequence[Tensor]]:
    """The answers of layers that lose outputs, without these."""
    left = dict(answers)
    for writer in group.writers:
        if writer.name in left:
            stays = torch.ones(left[writer.name][0].shape[1], dtype=torch.bool)
            stays[writer.positions_CP[list(gone)].flatten()] = False
            left[writer.name] = [y_RO[:, stays] for y_RO in left[writer.name]]
    return left


def _of_masks(model: Model) -> fx.GraphModule:
    """With masks for weights, so that they lose the channels that weights lose."""
    module = copy.deepcopy(cast(fx.GraphModule, model.module))
    with torch.no_grad():
        for name, mask in model.masks.items():
            module.get_parameter(name).copy_(mask)
    return module


def _samples(context: Context, importance: Importance) -> Samples:
    """To measure activations on; the loss's gradient is better with labels."""
    source = context.calibration
    if importance is Importance.TAYLOR and context.training is not None:
        source = context.training
    labels = None if source.y_N is None else source.y_N[:STATISTICS_ON]
    return Samples(x_N=source.x_N[:STATISTICS_ON], y_N=labels)


def _recalibrated(module: fx.GraphModule, context: Context, most: int) -> None:
    x_N = context.calibration.x_N
    whole = min(len(x_N) // BATCH * BATCH, most)
    recalibrate(module, batches(x_N[: whole or len(x_N)], BATCH))


def _left_alone(every: tuple[ChannelGroup, ...], groups: tuple[ChannelGroup, ...]) -> tuple[str, ...]:
    roots = [group.root for group in every if group.root not in {one.root for one in groups}]
    if not roots:
        return ()
    return (f"Left alone, as the graph's other operations depend on their channels: {', '.join(roots)}.",)


def _rows(work: Work, kept: Mapping[str, int], rankings: Mapping[str, Ranking]) -> tuple[LayerRow, ...]:
    groups = {group.root: group for group in work.groups}
    before, after = work.layers({root: group.channels for root, group in groups.items()}), work.layers(kept)
    rows = []
    for layer, macs in before.items():
        if after[layer] == macs:
            continue
        cells: dict[str, float | str] = {"MACs before": macs, "MACs after": after[layer]}
        if layer in groups:
            channels = groups[layer].channels
            cells |= {
                "channels before": channels,
                "channels after": kept[layer],
                "importance lost": rankings[layer].lost(channels - kept[layer]),
            }
        rows.append(LayerRow(layer=layer, cells=cells))
    return tuple(rows)

"""Structured magnitude pruning (arXiv 1608.08710): of each block, the hidden channels of smallest weights are removed.

The full supernet at its full image size loses the same share of hidden channels in every block, the largest network
inside the MACs is kept, and it is to be fine-tuned for its task (`fine_tuning.py`). A channel's magnitude is the sum of
the absolute values of all weights that belong to it, normalisation folded in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.dense import dense_spec, macs_of
from edgekit.supernet.blocks import Block
from edgekit.supernet.spec import Attention, BlockKind, SupernetSpec
from edgekit.supernet.supernet import Supernet

STATISTICS = ("mean", "var")  # of normalisation: for each image size


def pruned(supernet: Supernet, *, outputs: int, max_macs: float) -> Supernet:
    """A plain network with the supernet's head, whose subnet of a task with `outputs` labels keeps the limit.

    Raises ValueError where one channel a block is too much, and for blocks of ghost bricks or with attention, whose
    channels do not stand alone.
    """
    spec = supernet.spec
    if any(block.kind is BlockKind.GHOST or block.attention is not Attention.NONE for block in spec.blocks):
        raise ValueError("channels of ghost bricks and of attention cannot be pruned one by one")
    hidden = widest(spec, outputs=outputs, max_macs=max_macs)
    blocks = [block for block in supernet.blocks if isinstance(block, Block)]
    chosen = [
        magnitudes(block).topk(number).indices.sort().values for block, number in zip(blocks, hidden, strict=True)
    ]
    network = Supernet(dense_spec(spec, hidden, image_size=spec.image_size, outputs=spec.labels))
    state = {
        key: value[-1:] if key.rpartition(".")[2] in STATISTICS else value
        for key, value in supernet.state_dict().items()
        if not key.startswith("blocks.")
    }
    for index, block in enumerate(blocks):
        state |= {f"blocks.{index}.{key}": _cut(key, value, chosen[index]) for key, value in block.state_dict().items()}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def widest(spec: SupernetSpec, *, outputs: int, max_macs: float) -> list[int]:
    """Hidden channels of each block: the largest common share that keeps the MACs, at least one."""
    steps = max(block.hidden_channels for block in spec.blocks)
    for step in range(steps, 0, -1):
        hidden = [max(1, block.hidden_channels * step // steps) for block in spec.blocks]
        if macs_of(dense_spec(spec, hidden, image_size=spec.image_size, outputs=outputs)) <= max_macs:
            return hidden
    raise ValueError(f"one channel a block takes more than {max_macs:.0f} MACs at {spec.image_size} pixels")


@torch.no_grad()
def magnitudes(block: Block) -> Tensor:
    """`m_H` of a block's hidden channels."""
    channels = torch.arange(block.spec.hidden_channels)
    scale_H, _ = block.norm_first.affine(channels)
    scale_O, _ = block.norm_project.affine(block.spec.bricks)
    total_H = (block.w_first.double().flatten(1) * scale_H[:, None]).abs().sum(1)
    total_H += (block.w_project.double()[:, :, 0, 0] * scale_O[:, None]).abs().sum(0)
    if block.spec.depthwise is not None:
        scale_H, _ = block.norm_depthwise.affine(channels)
        total_H += (block.w_depthwise.double().flatten(1) * scale_H[:, None]).abs().sum(1)
    return total_H


def _cut(key: str, value: Tensor, chosen_H: Tensor) -> Tensor:
    """A block's tensor for the chosen hidden channels, all bricks open, at the largest image size."""
    layer, _, name = key.rpartition(".")
    if name in STATISTICS:
        value = value[-1:]
    if layer == "norm_project":
        return value[..., -1:, :]
    if layer:
        return value[..., chosen_H]
    return value[:, chosen_H] if name == "w_project" else value[chosen_H]

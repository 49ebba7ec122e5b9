"""The operators that the subnet of a genotype executes, from the supernet's spec alone: no weights, no torch."""

from __future__ import annotations

from edgekit.core.operators import Operator, OperatorKind, Tensor
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import BlockKind, BlockSpec, SupernetSpec


def describe(spec: SupernetSpec, genotype: Genotype, *, outputs: int, grouped: bool) -> tuple[Operator, ...]:
    """Operators at batch 1 of the subnet with `outputs` outputs.

    `grouped`: the head keeps all labels and a 0/1 matrix sums their probabilities into the outputs.
    """
    size = spec.image_size // 2
    operators = [stem_operator(spec)]
    for index, (block, count) in enumerate(zip(spec.blocks, genotype.counts, strict=True)):
        if count:
            operators += block_operators(f"block{index}", block, count, operators[-1].output, size)
        size //= block.stride
    return (*operators, *head_operators(spec, operators[-1].output, outputs=outputs, grouped=grouped))


def stem_operator(spec: SupernetSpec) -> Operator:
    x = Tensor(name="input", elements=3 * spec.image_size**2)
    size_out = spec.image_size // 2
    return _conv("stem", x, channels_in=3, channels_out=spec.stem_channels, kernel=3, stride=2, size_out=size_out)


def head_operators(spec: SupernetSpec, x: Tensor, *, outputs: int, grouped: bool) -> list[Operator]:
    """From the last block's output to the probabilities; `outputs` and `grouped` as in `describe`."""
    pooled = Tensor(name="mean", elements=spec.features)
    pool = Operator(name="mean", kind=OperatorKind.POOL, inputs=(x,), output=pooled, channels=spec.features)
    dense = _dense("head", pooled, spec.labels if grouped else outputs, biased=True)
    softmax = _softmax(dense.output)
    grouping = [_dense("grouping", softmax.output, outputs, biased=False)] if grouped else []
    return [pool, dense, softmax, *grouping]


def block_operators(name: str, block: BlockSpec, bricks: int, x: Tensor, size: int) -> list[Operator]:
    """Operators of one block with `bricks` > 0 open bricks on a `size` x `size` input."""
    hidden = bricks * block.brick_channels
    size_out = size // block.stride
    fused = block.kind is BlockKind.FUSED
    operators = [
        _conv(
            f"{name}.first",
            x,
            channels_in=block.in_channels,
            channels_out=hidden,
            kernel=block.kernel if fused else 1,
            stride=block.stride if fused else 1,
            size_out=size_out if fused else size,
        )
    ]
    if not fused:
        weights = hidden * block.kernel**2
        operators.append(
            Operator(
                name=f"{name}.depthwise",
                kind=OperatorKind.DEPTHWISE,
                inputs=(operators[-1].output,),
                output=Tensor(name=f"{name}.depthwise", elements=hidden * size_out**2),
                macs=weights * size_out**2,
                weights=weights,
                biases=hidden,
                channels=hidden,
                kernel=block.kernel,
                stride=block.stride,
            )
        )
    operators.append(
        _conv(
            f"{name}.project",
            operators[-1].output,
            channels_in=hidden,
            channels_out=block.out_channels,
            kernel=1,
            stride=1,
            size_out=size_out,
        )
    )
    if block.keeps_shape:
        y = operators[-1].output
        operators.append(
            Operator(
                name=f"{name}.add",
                kind=OperatorKind.ADD,
                inputs=(x, y),
                output=Tensor(name=f"{name}.add", elements=y.elements),
                channels=block.out_channels,
            )
        )
    return operators


def _conv(
    name: str, x: Tensor, *, channels_in: int, channels_out: int, kernel: int, stride: int, size_out: int
) -> Operator:
    weights = channels_out * channels_in * kernel**2
    return Operator(
        name=name,
        kind=OperatorKind.CONV,
        inputs=(x,),
        output=Tensor(name=name, elements=channels_out * size_out**2),
        macs=weights * size_out**2,
        weights=weights,
        biases=channels_out,
        channels=channels_out,
        kernel=kernel,
        stride=stride,
    )


def _dense(name: str, x: Tensor, outputs: int, *, biased: bool) -> Operator:
    return Operator(
        name=name,
        kind=OperatorKind.DENSE,
        inputs=(x,),
        output=Tensor(name=name, elements=outputs),
        macs=x.elements * outputs,
        weights=x.elements * outputs,
        biases=outputs if biased else 0,
        channels=outputs,
    )


def _softmax(x: Tensor) -> Operator:
    return Operator(
        name="softmax", kind=OperatorKind.OTHER, inputs=(x,), output=Tensor(name="softmax", elements=x.elements)
    )

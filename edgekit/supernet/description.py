"""The operators that the subnet of a genotype executes, from the supernet's spec alone: no weights, no torch."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.operators import Operator, OperatorKind, Tensor
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import ECA_KERNEL, Attention, BlockKind, BlockSpec, SupernetSpec, Window


def describe(spec: SupernetSpec, genotype: Genotype, *, rows: int, sums: int | None) -> tuple[Operator, ...]:
    """Operators at batch 1 of the subnet whose head has `rows` rows.

    `sums` is the number of outputs into which a 0/1 matrix sums the probabilities of the rows; None: each row is an output.
    """
    image_size = spec.image_size_of(genotype)
    size = image_size // 2
    operators = [stem_operator(spec, image_size)]
    for position in spec.positions:
        operators += position_operators(spec, position, genotype.counts, operators[-1].output, size)
        size //= spec.blocks[position[0]].stride
    return (*operators, *head_operators(spec, operators[-1].output, rows=rows, sums=sums))


def stem_operator(spec: SupernetSpec, image_size: int) -> Operator:
    x = Tensor(name="input", elements=3 * image_size**2)
    window = Window(kernel=3, stride=2)
    return _conv("stem", x, channels_in=3, channels_out=spec.stem_channels, window=window, size_in=image_size)


def head_operators(spec: SupernetSpec, x: Tensor, *, rows: int, sums: int | None) -> list[Operator]:
    """From the last block's output to the probabilities; `rows` and `sums` as in `describe`."""
    pool = _pool("mean", x, spec.features)
    dense = _dense("head", pool.output, rows, biased=True)
    softmax = _plain("softmax", (dense.output,), elements=dense.output.elements)
    grouping = [] if sums is None else [_dense("grouping", softmax.output, sums, biased=False)]
    return [pool, dense, softmax, *grouping]


def position_operators(
    spec: SupernetSpec, position: Sequence[int], counts: Sequence[int], x: Tensor, size: int
) -> list[Operator]:
    """Operators of the blocks at one position, of which block b has `counts[b]` open bricks, on a `size` x `size` input.

    Branches run one after the other, and each is added to the sum of those before it; the shortcut is the first term.
    """
    operators: list[Operator] = []
    total = x if spec.blocks[position[0]].has_shortcut else None
    for index in position:
        if counts[index]:
            name = f"block{index}"
            operators += _branch(name, spec.blocks[index], counts[index], x, size)
            if total is not None:
                operators.append(_add(name, spec.blocks[index], total, operators[-1].output))
            total = operators[-1].output
    return operators


def block_operators(name: str, block: BlockSpec, bricks: int, x: Tensor, size: int) -> list[Operator]:
    """What one block with `bricks` > 0 open bricks adds to a network; `x` as in `position_operators`."""
    operators = _branch(name, block, bricks, x, size)
    y = operators[-1].output
    if block.beside:
        return [*operators, _add(name, block, Tensor(name=f"{name}.beside", elements=y.elements), y)]
    return [*operators, _add(name, block, x, y)] if block.has_shortcut else operators


def _branch(name: str, block: BlockSpec, bricks: int, x: Tensor, size: int) -> list[Operator]:
    filters = bricks * block.brick_filters
    hidden = bricks * block.brick_channels
    operators = [
        _conv(f"{name}.first", x, channels_in=block.in_channels, channels_out=filters, window=block.first, size_in=size)
    ]
    size_out = size // block.stride
    if block.depthwise is not None:
        first = operators[-1].output
        operators.append(_depthwise(f"{name}.depthwise", first, filters, block.depthwise, size_out))
        if block.kind is BlockKind.GHOST:
            both = (first, operators[-1].output)
            operators.append(_plain(f"{name}.concat", both, elements=hidden * size_out**2, channels=hidden))
    operators += _attention(name, block, bricks, operators[-1].output)
    y = operators[-1].output
    project = _conv(
        f"{name}.project", y, channels_in=hidden, channels_out=block.out_channels, window=Window(1, 1), size_in=size_out
    )
    return [*operators, project]


def _attention(name: str, block: BlockSpec, bricks: int, y: Tensor) -> list[Operator]:
    if block.attention is Attention.NONE:
        return []
    hidden = bricks * block.brick_channels
    pool = _pool(f"{name}.mean", y, hidden)
    if block.attention is Attention.SE:
        gating = _se_gates(name, block.squeezed_channels, pool.output)
    else:
        gating = _eca_gates(name, pool.output)
    return [pool, *gating, _plain(f"{name}.mul", (y, gating[-1].output), elements=y.elements, channels=hidden)]


def _se_gates(name: str, squeezed: int, mean: Tensor) -> list[Operator]:
    hidden, window = mean.elements, Window(1, 1)
    reduce = _conv(f"{name}.reduce", mean, channels_in=hidden, channels_out=squeezed, window=window, size_in=1)
    expand = _conv(f"{name}.expand", reduce.output, channels_in=squeezed, channels_out=hidden, window=window, size_in=1)
    return [reduce, expand]


def _eca_gates(name: str, mean: Tensor) -> list[Operator]:
    """Between two changes of shape a convolution of one channel along each brick, and the sigmoid."""
    runs = _plain(f"{name}.runs", (mean,), elements=mean.elements)
    neighbours = Operator(
        name=f"{name}.neighbours",
        kind=OperatorKind.DEPTHWISE,
        inputs=(runs.output,),
        output=Tensor(name=f"{name}.neighbours", elements=mean.elements),
        macs=ECA_KERNEL * mean.elements,
        weights=ECA_KERNEL,
        biases=1,
        channels=1,
        kernel=ECA_KERNEL,
    )
    sigmoid = _plain(f"{name}.sigmoid", (neighbours.output,), elements=mean.elements)
    return [runs, neighbours, sigmoid, _plain(f"{name}.gates", (sigmoid.output,), elements=mean.elements)]


def _conv(name: str, x: Tensor, *, channels_in: int, channels_out: int, window: Window, size_in: int) -> Operator:
    weights = channels_out * channels_in * window.kernel**2
    positions = (size_in // window.stride) ** 2
    return Operator(
        name=name,
        kind=OperatorKind.CONV,
        inputs=(x,),
        output=Tensor(name=name, elements=channels_out * positions),
        macs=weights * positions,
        weights=weights,
        biases=channels_out,
        channels=channels_out,
        kernel=window.kernel,
        stride=window.stride,
    )


def _depthwise(name: str, x: Tensor, channels: int, window: Window, size_out: int) -> Operator:
    weights = channels * window.kernel**2
    return Operator(
        name=name,
        kind=OperatorKind.DEPTHWISE,
        inputs=(x,),
        output=Tensor(name=name, elements=channels * size_out**2),
        macs=weights * size_out**2,
        weights=weights,
        biases=channels,
        channels=channels,
        kernel=window.kernel,
        stride=window.stride,
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


def _pool(name: str, x: Tensor, channels: int) -> Operator:
    output = Tensor(name=name, elements=channels)
    return Operator(name=name, kind=OperatorKind.POOL, inputs=(x,), output=output, channels=channels)


def _add(name: str, block: BlockSpec, one: Tensor, other: Tensor) -> Operator:
    return Operator(
        name=f"{name}.add",
        kind=OperatorKind.ADD,
        inputs=(one, other),
        output=Tensor(name=f"{name}.add", elements=one.elements),
        channels=block.out_channels,
    )


def _plain(name: str, inputs: tuple[Tensor, ...], *, elements: int, channels: int = 0) -> Operator:
    output = Tensor(name=name, elements=elements)
    return Operator(name=name, kind=OperatorKind.OTHER, inputs=inputs, output=output, channels=channels)

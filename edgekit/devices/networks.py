"""The operators of published reference networks, which calibrating tables name by family, width and resolution."""

from __future__ import annotations

from edgekit.core.errors import BadInputError
from edgekit.core.names import did_you_mean
from edgekit.core.operators import Operator
from edgekit.devices.tape import Tape

_V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
_V2_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_V2_LAST_CHANNELS = 1280


def mobilenet_v1(*, width: float, resolution: int, classes: int = 1001) -> tuple[Operator, ...]:
    """MobileNetV1, width multiplier `width`, square RGB input (arXiv 1704.04861, table 1)."""
    tape = Tape(resolution=resolution)
    tape.conv(max(8, int(32 * width)), kernel=3, stride=2)
    for channels, stride in _V1_BLOCKS:
        tape.depthwise(stride=stride)
        tape.conv(max(8, int(channels * width)))
    tape.mean()
    tape.conv(classes)
    tape.softmax()
    return tuple(tape.operators)


def mobilenet_v2(*, width: float, resolution: int, classes: int = 1001) -> tuple[Operator, ...]:
    """MobileNetV2, width multiplier `width`, square RGB input (arXiv 1801.04381, table 2).

    As in the authors' code the last convolution never has less than 1280 channels.
    """
    tape = Tape(resolution=resolution)
    tape.conv(_multiple_of_8(32 * width), kernel=3, stride=2)
    for expansion, channels, repeats, first_stride in _V2_BLOCKS:
        for repeat in range(repeats):
            _inverted_bottleneck(
                tape,
                expanded=tape.channels * expansion,
                channels=_multiple_of_8(channels * width),
                stride=first_stride if repeat == 0 else 1,
            )
    tape.conv(max(_V2_LAST_CHANNELS, _multiple_of_8(_V2_LAST_CHANNELS * width)))
    tape.mean()
    tape.conv(classes)
    tape.softmax()
    return tuple(tape.operators)


def _inverted_bottleneck(tape: Tape, *, expanded: int, channels: int, stride: int) -> None:
    shortcut, has_shortcut = tape.current, stride == 1 and channels == tape.channels
    if expanded != tape.channels:
        tape.conv(expanded)
    tape.depthwise(stride=stride)
    tape.conv(channels)
    if has_shortcut:
        tape.add(shortcut)


def _multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, but at least 90 % of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


_FAMILIES = {"mobilenet_v1": mobilenet_v1, "mobilenet_v2": mobilenet_v2}


def reference_network(family: str, *, width: float, resolution: int) -> tuple[Operator, ...]:
    """The operators of a published network. Raises BadInputError for an unknown family."""
    try:
        build = _FAMILIES[family]
    except KeyError as error:
        raise BadInputError(
            f'no reference network is called "{family}"', hint=did_you_mean(family, _FAMILIES)
        ) from error
    return build(width=width, resolution=resolution)

"""`swap::ghost`, `swap::repghost` and `swap::ghost_v2`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgekit.core.errors import UsageError
from edgekit.passes.contract import Context, Needs, PassResult, Reduces, option

if TYPE_CHECKING:
    from edgekit.core.model import Model

_RATIO = "channels of which one is computed and the others are made of it"
_KERNEL = "size of the depthwise kernels that make them"
_MAX_RESIDUAL = "share of a layer's variance that its cheap channels may miss"
_REFIT = "strength of the ridge by which convolutions behind are refitted, in mean squares of a regressor; below 0: not at all"
_IMAGES = "calibration inputs to fit on"
_EPOCHS = "passes over the training inputs with the original as teacher, after the swap"


@dataclass(frozen=True, kw_only=True, slots=True)
class SwapGhost:
    """Convolutions become Ghost modules where that is faster on the target and little is missed."""

    id: ClassVar[str] = "swap::ghost"
    summary: ClassVar[str] = "Replaces convolutions with Ghost modules, fitted in closed form to what they computed."
    source: ClassVar[str] = "Han et al., arXiv 1911.11907; the fit is edgekit's own"
    needs: ClassVar[Needs] = Needs.CALIBRATION
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.PARAMETERS, Reduces.BYTES, Reduces.MACS, Reduces.LATENCY)

    ratio: int = option(2, help=_RATIO, search=(2, 4))
    kernel: int = option(3, help=_KERNEL, search=(3, 5))
    max_residual: float = option(0.4, help=_MAX_RESIDUAL, search=(0.2, 0.3, 0.4))
    refit: float = option(0.01, help=_REFIT)
    images: int = option(256, help=_IMAGES)
    epochs: int = option(0, help=_EPOCHS, search=(0, 10, 30))
    sums: bool = option(True, help="whether a layer may take RepGhost's form where the cost model finds it faster")

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, model: Model, context: Context) -> PassResult:
        return _swap(self, ("concat", "sum") if self.sums else ("concat",), model, context)


@dataclass(frozen=True, kw_only=True, slots=True)
class SwapRepGhost:
    """Convolutions inside blocks give up channels for a depthwise convolution in their place; what reads them is refitted."""

    id: ClassVar[str] = "swap::repghost"
    summary: ClassVar[str] = (
        "Replaces convolutions inside blocks with narrower RepGhost modules, without concatenation."
    )
    source: ClassVar[str] = "Chen et al., arXiv 2211.06088; the fit is edgekit's own"
    needs: ClassVar[Needs] = Needs.CALIBRATION
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.PARAMETERS, Reduces.BYTES, Reduces.MACS, Reduces.LATENCY)

    ratio: int = option(2, help=_RATIO, search=(2, 4))
    kernel: int = option(3, help=_KERNEL, search=(3, 5))
    max_residual: float = option(0.4, help=_MAX_RESIDUAL, search=(0.2, 0.3, 0.4))
    refit: float = option(0.01, help=_REFIT)
    images: int = option(256, help=_IMAGES)
    epochs: int = option(0, help=_EPOCHS, search=(0, 10, 30))

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, model: Model, context: Context) -> PassResult:
        return _swap(self, ("sum",), model, context)


@dataclass(frozen=True, kw_only=True, slots=True)
class SwapGhostV2:
    """Convolutions inside blocks become Ghost modules with a gate, which starts open and needs training to be of use."""

    id: ClassVar[str] = "swap::ghost_v2"
    summary: ClassVar[str] = (
        "Replaces convolutions inside blocks with Ghost modules whose channels are weighted by attention over rows and columns."
    )
    source: ClassVar[str] = "Tang et al., arXiv 2211.12905; the fit is edgekit's own"
    needs: ClassVar[Needs] = Needs.CALIBRATION
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.PARAMETERS, Reduces.BYTES, Reduces.MACS, Reduces.LATENCY)

    ratio: int = option(2, help=_RATIO, search=(2, 4))
    kernel: int = option(3, help=_KERNEL, search=(3, 5))
    max_residual: float = option(0.4, help=_MAX_RESIDUAL, search=(0.2, 0.3, 0.4))
    refit: float = option(0.01, help=_REFIT)
    images: int = option(256, help=_IMAGES)
    epochs: int = option(30, help=_EPOCHS, search=(10, 30))

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, model: Model, context: Context) -> PassResult:
        return _swap(self, ("gated",), model, context)


def _check(options: SwapGhost | SwapRepGhost | SwapGhostV2) -> None:
    """Raises UsageError for options outside their range."""
    hint = f"see `edgekit passes show {options.id}`"
    if options.ratio < 2 or options.kernel < 1 or options.kernel % 2 == 0:
        raise UsageError(f"{options.id}: ratio must be at least 2, kernel an odd number", hint=hint)
    if options.max_residual <= 0 or options.images < 1 or options.epochs < 0:
        raise UsageError(f"{options.id}: max_residual and images must be above 0, epochs not below", hint=hint)


def _swap(
    options: SwapGhost | SwapRepGhost | SwapGhostV2, forms: tuple[str, ...], model: Model, context: Context
) -> PassResult:
    from edgekit.passes.ghost_cascade import Form
    from edgekit.passes.ghost_swapping import Swapping

    swapping = Swapping(
        pass_id=options.id,
        forms=[Form(form) for form in forms],
        ratio=options.ratio,
        kernel=options.kernel,
        max_residual=options.max_residual,
        ridge=options.refit if options.refit >= 0 else None,
        images=options.images,
        epochs=options.epochs,
    )
    return swapping(model, context)

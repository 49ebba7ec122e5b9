"""The pass that prepares int8 ONNX files: which layers the quantiser has to leave in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgekit.core.errors import UsageError
from edgekit.passes.contract import Context, Needs, PassResult, Reduces, option

if TYPE_CHECKING:
    from edgekit.core.model import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class Nncf:
    """Stores int8 in ONNX files, for ONNX Runtime and TVM.

    Raises UsageError for a `max_drop` outside 0 to 100, MissingExtraError without `edgekit[nncf]`, ConversionError where the model
    is quantised already, or torch's exporter or NNCF fail.
    """

    id: ClassVar[str] = "quant::nncf"
    summary: ClassVar[str] = (
        "Quantises to int8 for ONNX by NNCF and keeps the layers that accuracy depends on in float32."
    )
    source: ClassVar[str] = "Kozlov et al., arXiv 2002.08679; NNCF 3"
    needs: ClassVar[Needs] = Needs.CALIBRATION
    reduces: ClassVar[tuple[Reduces, ...]] = (Reduces.BYTES,)

    max_drop: float = option(
        0.5,
        help="points that int8 may cost on the judging samples before layers return to float32",
        search=(0.2, 0.5, 1.0),
    )

    def __call__(self, model: Model, context: Context) -> PassResult:
        if not 0 <= self.max_drop <= 100:
            raise UsageError(f"max_drop is {self.max_drop:g} points", hint="give a number from 0 to 100")
        from edgekit.passes.onnx_precision import decide

        return decide(model, context, max_drop=self.max_drop)

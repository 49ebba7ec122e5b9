"""What an exporter hands over: one file, and what was done to make it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.core.model import Model, Quantization, Scheme
from edgekit.core.records import sha256_of, write_bytes
from edgekit.devices.precision import Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One exported network. `precision` is that of its activations, `reference` the fp32 file that it was quantised from, and
    `quantization` what was done to that. In a file with several networks it is the one of that `signature`; sum and size are
    the whole file's. `notes` are sentences for its report."""

    path: Path
    precision: Precision
    sha256: str
    size_bytes: int
    reference: Artifact | None = None
    quantization: Quantization | None = None
    notes: tuple[str, ...] = ()
    signature: str | None = None

    @property
    def is_full_integer(self) -> bool:
        """Whether no operator of it may compute in float32."""
        return self.precision is Precision.INT8 and not (self.quantization and self.quantization.kept_float)


def moved(artifact: Artifact, path: Path) -> Artifact:
    """The same file in another place; its reference stays."""
    artifact.path.rename(path)
    return replace(artifact, path=path)


def write_artifact(
    content: bytes, path: Path, quantization: Quantization | None = None, reference: Artifact | None = None
) -> Artifact:
    write_bytes(path, content)
    is_int8 = quantization is not None and quantization.scheme is Scheme.INT8
    return Artifact(
        path=path,
        precision=Precision.INT8 if is_int8 else Precision.FP32,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        reference=reference,
        quantization=quantization,
    )


def quantization_for(model: Model, precision: Precision) -> Quantization | None:
    """What the model says of itself; one that says nothing is made full integer where `precision` is int8."""
    default = Quantization(scheme=Scheme.INT8) if precision is Precision.INT8 else None
    return model.quantization or default

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from exported_networks import Exported
from torch import nn

from edgekit.core.errors import ExitCode, VerificationError
from edgekit.core.model import Model
from edgekit.exporters.verify import verify


def test_a_sound_export_passes_and_says_by_how_much(exported: Exported) -> None:
    verification = verify(exported.model, exported.int8, exported.x_NHWC, min_agreement=0.93, max_size_bytes=200_000)
    record = json.loads(json.dumps(verification.to_json()))
    assert record["sha256"] == exported.int8.sha256
    assert record["precision"] == "int8"
    assert record["inputs"] == 100
    assert record["census"]["MEAN"] == 1
    figures = {check["name"]: check["value"] for check in record["checks"]}
    assert figures["int8 top-1 agreement"] >= 0.93
    assert figures["int8 cosine"] > 0.99
    assert figures["size_bytes"] == exported.int8.size_bytes
    assert figures["MACs"] == sum(operator.macs for operator in exported.model.operators)


def test_an_fp32_file_is_its_own_reference(exported: Exported) -> None:
    verification = verify(exported.model, exported.fp32, exported.x_NHWC, min_agreement=1)
    assert verification.precision == "fp32"
    assert not [check for check in verification.checks if check.name.startswith("int8")]


class Shifted(nn.Module):
    """The fault of a lost bias: every logit of one label a little lower."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.module(x) * torch.tensor([0.99, 1, 1, 1, 1])
        return p / p.sum(1, keepdim=True)


def test_a_small_difference_from_torch_is_a_miss(plain: Exported) -> None:
    model = changed(plain.model, module=Shifted(plain.model.module).eval())
    with pytest.raises(VerificationError, match=r"fp32 difference in tolerances is .* must be <= 1") as caught:
        verify(model, plain.fp32, plain.x_NHWC, min_agreement=0.5)
    assert caught.value.code is ExitCode.VERIFICATION


def test_an_agreement_below_the_limit_is_a_miss_with_figure_and_limit(plain: Exported) -> None:
    with pytest.raises(VerificationError, match=r"int8 top-1 agreement is [01][.\d]*, must be >= 1.01"):
        verify(plain.model, plain.int8, plain.x_NHWC, min_agreement=1.01)


class Fewer(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)[:, :4]


def test_another_number_of_outputs_is_a_miss(plain: Exported) -> None:
    model = changed(plain.model, module=Fewer(plain.model.module).eval())
    with pytest.raises(VerificationError, match="fp32 outputs is 5, must be == 4"):
        verify(model, plain.int8, plain.x_NHWC, min_agreement=0.5)


def test_an_operator_that_was_not_described_is_a_miss(plain: Exported) -> None:
    without_stem = plain.model.operators[1:]
    with pytest.raises(VerificationError, match=r"conv operators is 9, must be == 8; MACs is \d+, must be == \d+"):
        verify(changed(plain.model, operators=without_stem), plain.fp32, plain.x_NHWC, min_agreement=0.5)


def test_an_fp32_file_does_not_pass_for_int8(plain: Exported) -> None:
    pretended = replace(plain.int8, path=plain.fp32.path)
    with pytest.raises(VerificationError, match="operators on float32 is 19, must be == 0"):
        verify(plain.model, pretended, plain.x_NHWC, min_agreement=0.5)


def test_other_labels_in_the_file_are_a_miss(plain: Exported) -> None:
    swapped = tuple(reversed(plain.model.labels))
    with pytest.raises(VerificationError, match="label lists"):
        verify(changed(plain.model, labels=swapped), plain.fp32, plain.x_NHWC, min_agreement=0.5)


def test_a_file_over_its_size_limit_is_a_miss(plain: Exported) -> None:
    limit = plain.int8.size_bytes - 1
    with pytest.raises(VerificationError, match=f"size_bytes is {limit + 1}, must be <= {limit}"):
        verify(plain.model, plain.int8, plain.x_NHWC, min_agreement=0.5, max_size_bytes=limit)


def changed(model: Model, **fields: object) -> Model:
    return replace(model, **fields)

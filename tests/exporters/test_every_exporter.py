"""What the files of every runtime must be, whatever their format: one template for all exporters and precisions."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_supernet import LABELS, SIZE, draw_all
from torch import Tensor, nn

from edgekit.core.errors import (
    BadInputError,
    ConversionError,
    EdgekitError,
    ExitCode,
    MissingExtraError,
    UsageError,
    VerificationError,
)
from edgekit.core.images import to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.devices.precision import Precision
from edgekit.devices.target import Target, parse_target
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.exporter import EXPORTERS, MODEL_FILES, Exporter, exporter_for, exporter_of
from edgekit.exporters.verify import verify
from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.storage import WEIGHTS, open_supernet
from edgekit.supernet.subnet import slice_subnet
from edgekit.tasks.grammar import parse_task

TASK = "red rows, blue columns, green rows, red columns"
RUNTIMES = [exporter.runtime for exporter in EXPORTERS]
CASES = [*((runtime, one) for runtime in RUNTIMES for one in (Precision.INT8, Precision.FP32)), ("tvm", Precision.FP16)]


@dataclass(frozen=True, kw_only=True)
class Exported:
    exporter: Exporter
    artifact: Artifact
    x_NHWC: np.ndarray
    y_NK: np.ndarray


def target_of(runtime: str, precision: Precision) -> Target:
    """This machine, which can run its own files, those in fp16 slowly where it has no such arithmetic. Skips where a library of
    the runtime is missing."""
    target = replace(parse_target(f"host:{runtime}-fp32"), precision=precision)
    try:
        exporter_for(runtime).check_installed(target)
    except MissingExtraError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    return target


@pytest.fixture(scope="module")
def model(tiny_supernet: Path) -> Model:
    """A slice of the small supernet, for four of its labels."""
    folder = open_supernet(tiny_supernet)
    task, genotype = parse_task(TASK, folder.vocabulary), Genotype.parse("03.07.03")
    return Model(
        module=slice_subnet(folder.load(folder.read_tensors(WEIGHTS)), genotype, task),
        input_shape=(3, SIZE, SIZE),
        labels=task.outputs(folder.vocabulary),
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
        operators=describe(folder.spec, genotype, rows=len(task.indices), sums=None),
        provenance={"supernet": "stripes", "genotype": str(genotype)},
    )


def pictures(model: Model, count: int, seed: int) -> np.ndarray:
    """`x_NHWC`: stripes of the labels that the network tells apart."""
    x_NHWC, y_N = draw_all(count, np.random.default_rng(seed))
    assert model.preprocessing is not None
    return to_float(x_NHWC[np.isin(y_N, [LABELS.index(label) for label in model.labels])], model.preprocessing)


def in_torch(module: nn.Module, x_NHWC: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(x_NHWC).permute(0, 3, 1, 2).contiguous()).numpy())


@pytest.fixture(
    scope="module",
    params=CASES,
    ids=lambda case: "-".join(case),
)
def exported(request: pytest.FixtureRequest, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    target, exporter = target_of(*request.param), exporter_for(request.param[0])
    folder, x_NHWC = tmp_path_factory.mktemp(exporter.runtime), pictures(model, 90, seed=2)
    artifact = exporter.export(model, target=target, calibration_N=pictures(model, 90, seed=1), folder=folder)
    return Exported(exporter=exporter, artifact=artifact, x_NHWC=x_NHWC, y_NK=in_torch(model.module, x_NHWC))


def test_the_file_answers_as_torch_does(exported: Exported) -> None:
    answers_NK = exported.exporter.run(exported.artifact.path, exported.x_NHWC).outputs
    assert answers_NK.shape == exported.y_NK.shape
    if exported.artifact.precision is Precision.FP32:
        assert np.allclose(answers_NK, exported.y_NK, rtol=1e-4, atol=1e-5)
    elif exported.artifact.precision is Precision.FP16:
        assert np.allclose(answers_NK, exported.y_NK, rtol=0, atol=0.01)
    else:
        assert np.mean(answers_NK.argmax(1) == exported.y_NK.argmax(1)) >= 0.95
        assert np.abs(answers_NK - exported.y_NK).mean() < 0.02


def test_the_reference_of_a_file_in_fewer_bits_is_in_float32_and_lies_beside_it(exported: Exported) -> None:
    reference = exported.artifact.reference
    if exported.artifact.precision is Precision.FP32:
        assert reference is None
        return
    assert reference is not None
    assert reference.path.parent == exported.artifact.path.parent
    answers_NK = exporter_of(reference.path).run(reference.path, exported.x_NHWC).outputs
    assert np.allclose(answers_NK, exported.y_NK, rtol=1e-4, atol=1e-5)


def test_labels_preprocessing_and_provenance_come_out_of_the_file(exported: Exported, model: Model) -> None:
    metadata = exported.exporter.read_metadata(exported.artifact.path)
    assert metadata.labels == model.labels
    assert metadata.preprocessing == model.preprocessing
    assert metadata.provenance == model.provenance
    assert metadata.probabilities


def test_the_graph_in_the_file_is_the_one_that_was_described(exported: Exported, model: Model) -> None:
    graph = exported.exporter.read_graph(exported.artifact.path)
    assert graph.macs == sum(operator.macs for operator in model.operators)
    assert graph.outputs[0].shape[-1] == len(model.labels)


def test_the_artifact_tells_name_size_and_sum_of_its_file(exported: Exported) -> None:
    content = exported.artifact.path.read_bytes()
    assert exported.artifact.path.name in MODEL_FILES
    assert exported.artifact.size_bytes == len(content)
    assert exported.artifact.sha256 == sha256(content).hexdigest()
    assert exporter_of(exported.artifact.path) is exported.exporter


def test_gathered_networks_answer_as_they_did_apart(exported: Exported, tmp_path: Path) -> None:
    artifacts = {}
    for name in ("first", "last"):
        (tmp_path / name).mkdir()
        path = Path(shutil.copy(exported.artifact.path, tmp_path / name))
        artifacts[name] = replace(exported.artifact, path=path)
    gathered = exported.exporter.gather(artifacts, tmp_path)
    answers_NK = exported.exporter.run(exported.artifact.path, exported.x_NHWC[:8]).outputs
    assert list(gathered) == ["first", "last"]
    for one in gathered.values():
        run = exported.exporter.run(one.path, exported.x_NHWC[:8], signature=one.signature)
        assert np.array_equal(run.outputs, answers_NK)
        metadata = exported.exporter.read_metadata(one.path, signature=one.signature)
        assert metadata == exported.exporter.read_metadata(exported.artifact.path)
        assert (one.sha256, one.size_bytes) == (sha256(one.path.read_bytes()).hexdigest(), one.path.stat().st_size)
    assert {path for path in tmp_path.iterdir() if path.is_file()} == {one.path for one in gathered.values()}
    assert len({(one.path, one.signature) for one in gathered.values()}) == 2


def test_a_quantised_file_gives_floats_at_its_ends_where_its_exporter_says_so(exported: Exported) -> None:
    steps_NK = 256 * exported.exporter.run(exported.artifact.path, exported.x_NHWC).outputs
    has_steps = bool(np.all(steps_NK == steps_NK.round()))
    is_int8 = exported.artifact.precision is Precision.INT8
    assert has_steps == (is_int8 and not exported.exporter.float_ends)


def test_a_sound_file_is_verified_and_a_size_limit_kept(exported: Exported, model: Model) -> None:
    size_bytes = exported.artifact.size_bytes
    passed = verify(model, exported.artifact, exported.x_NHWC, min_agreement=0.95, max_size_bytes=size_bytes)
    assert passed.inputs == len(exported.x_NHWC)
    with pytest.raises(VerificationError, match=f"size_bytes is {size_bytes}"):
        verify(model, exported.artifact, exported.x_NHWC, min_agreement=0.95, max_size_bytes=size_bytes - 1)


def test_a_file_with_other_labels_is_not_verified(exported: Exported, model: Model) -> None:
    other = replace(model, labels=tuple(reversed(model.labels)))
    with pytest.raises(VerificationError, match="label lists in the file that differ"):
        verify(other, exported.artifact, exported.x_NHWC[:4], min_agreement=0)


class Biased(nn.Module):
    """The fault of a changed weight: some of each probability goes to another label."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x_NCHW: Tensor) -> Tensor:
        p_NK: Tensor = self.module(x_NCHW)
        return 0.98 * p_NK + 0.02 * p_NK.flip(1)


def test_a_file_that_computes_something_else_is_not_verified(exported: Exported, model: Model) -> None:
    with pytest.raises(VerificationError, match="fp32 difference in tolerances"):
        verify(replace(model, module=Biased(model.module)), exported.artifact, exported.x_NHWC, min_agreement=0)


def test_a_cut_file_is_refused_by_all_that_read_it(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / exported.artifact.path.name
    content = exported.artifact.path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    reads: list[Any] = [
        lambda: exported.exporter.run(path, exported.x_NHWC[:1]),
        lambda: exported.exporter.read_metadata(path),
        lambda: exported.exporter.read_graph(path),
    ]
    for read in reads:
        with pytest.raises(BadInputError, match=str(path)):
            read()


def test_a_signature_that_the_file_lacks_is_a_usage_error(exported: Exported) -> None:
    with pytest.raises(UsageError):
        exported.exporter.read_metadata(exported.artifact.path, signature="8ms")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_weights_that_are_no_numbers_reach_no_build(runtime: str, model: Model, tmp_path: Path) -> None:
    target, x_NHWC = target_of(runtime, Precision.FP32), pictures(model, 12, seed=3)
    broken = replace(model, module=deepcopy(model.module))
    next(broken.module.parameters()).data.view(-1)[0] = torch.nan

    def build() -> None:
        artifact = exporter_for(runtime).export(broken, target=target, calibration_N=x_NHWC, folder=tmp_path)
        verify(broken, artifact, x_NHWC, min_agreement=0)

    with pytest.raises(EdgekitError) as caught:
        build()
    assert caught.value.code in (ExitCode.CONVERSION, ExitCode.VERIFICATION)


class Unsupported(nn.Module):
    """No runtime has a decomposition of matrices."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.linalg.qr(x_NCHW.mean(1))[0].flatten(1)[:, :4].softmax(1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_layer_that_a_runtime_lacks_is_said_in_one_sentence(runtime: str, model: Model, tmp_path: Path) -> None:
    target, x_NHWC = target_of(runtime, Precision.FP32), pictures(model, 12, seed=3)
    unsupported = replace(model, module=Unsupported().eval())
    with pytest.raises(ConversionError) as caught:
        exporter_for(runtime).export(unsupported, target=target, calibration_N=x_NHWC, folder=tmp_path)
    assert caught.value.code == 4
    assert caught.value.message.startswith("cannot convert the network to")
    assert "\n" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_runtime_and_an_unknown_suffix_are_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError) as unknown_runtime:
        exporter_for("tflight")
    assert '"tflite"' in unknown_runtime.value.hint
    with pytest.raises(BadInputError) as unknown_suffix:
        exporter_of(Path("model.onx"))
    assert '".onnx"' in unknown_suffix.value.hint

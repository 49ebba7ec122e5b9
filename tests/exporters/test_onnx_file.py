"""Models as ONNX files, in float32 and int8: what they hold, what they answer, and what never leaves this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from digits_network import digits, digits_model, model_of
from torch import Tensor, nn

from edgekit.core.errors import BadInputError, ConversionError, MissingExtraError, UsageError, VerificationError
from edgekit.core.model import Model, Preprocessing, Quantization, Scheme
from edgekit.devices.precision import Precision
from edgekit.exporters.artifact import Artifact
from edgekit.exporters.layout import to_file
from edgekit.exporters.onnx_file import convert_onnx, export_onnx, outputs_of, read_onnx_metadata
from edgekit.exporters.onnx_quantization import in_float, layers_by_precision, quantize_onnx
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.verify import verify

INT8 = Quantization(scheme=Scheme.INT8)
LAYERS = ("stem", "depthwise", "wide", "head")


@dataclass(frozen=True)
class Exported:
    model: Model
    artifact: Artifact
    calibration_N: np.ndarray
    x_N: np.ndarray

    @property
    def fp32(self) -> bytes:
        assert self.artifact.reference is not None
        return self.artifact.reference.path.read_bytes()

    @property
    def int8(self) -> bytes:
        return self.artifact.path.read_bytes()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Digits, in int8 with its float32 reference."""
    model = replace(digits_model(), quantization=INT8)
    learnt, judged = digits()
    calibration_N, folder = learnt.x_N[:40].numpy(), tmp_path_factory.mktemp("onnx")
    artifact = export_onnx(model, precision=Precision.FP32, calibration_N=calibration_N, folder=folder)
    return Exported(model, artifact, calibration_N, judged.x_N[:200].numpy())


class Tokens(nn.Module):
    """Its linear layer takes arrays of rank 3, for which the exporter transposes and renames the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)
        self.act = nn.Hardswish()

    def forward(self, x_NTD: Tensor) -> Tensor:
        y_NK: Tensor = self.head(self.act(self.norm(self.embed(x_NTD))).mean(1))
        return y_NK


class Twice(nn.Module):
    """One layer called two times, a strided slice, padded channels, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 8, 3, 2, 1)
        self.silu = nn.SiLU()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.silu(self.conv(self.conv(x_NCHW)))
        return self.down(x_NCHW) + nn.functional.pad(x_NCHW[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))


class Joining(nn.Module):
    """What is joined has other ranges, one of them without negative values; it is then padded, pooled and shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.three.weight.data *= 3
        self.relu, self.pool, self.shuffle = nn.ReLU(), nn.MaxPool2d(2), nn.ChannelShuffle(2)
        self.last, self.head = nn.Conv2d(20, 16, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.relu(self.one(x_NCHW))
        y_NCHW = torch.cat([self.two(x_NCHW), self.three(x_NCHW)], 1)
        y_NCHW = nn.functional.pad(y_NCHW, (0, 0, 0, 0, 2, 2))
        logits_NKHW: Tensor = self.head(self.shuffle(self.last(self.pool(y_NCHW))))
        return logits_NKHW


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tokens": (Tokens, (5, 6)),
    "twice": (Twice, (4, 6, 6)),
    "joining": (Joining, (3, 8, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_answers_as_in_torch_and_keeps_the_names_of_its_layers(name: str, tmp_path: Path) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(1)
    model = replace(model_of(make(), shape), quantization=INT8)
    x_N = torch.randn(40, *shape).numpy()
    artifact = export_onnx(model, precision=Precision.FP32, calibration_N=x_N, folder=tmp_path)
    verify(model, artifact, to_file(x_N), min_agreement=0.9, min_reproduced=0.8)
    expected = [name for name, one in model.module.named_modules() if isinstance(one, (nn.Conv2d, nn.Linear))]
    calls = [node.name for node in onnx.load(tmp_path / "model.fp32.onnx").graph.node]
    assert set(expected) <= set(calls)
    assert list(layers_by_precision(artifact.path.read_bytes())) == expected


@pytest.mark.parametrize("signed", ["0", "1"], ids=["x86", "arm"])
def test_onnx_runtime_joins_and_convolves_in_integers(signed: str, tmp_path: Path) -> None:
    """As it does by itself on x86, where it prefers unsigned integers, and on ARM."""
    torch.manual_seed(0)
    model = replace(model_of(Joining(), (3, 8, 8)), quantization=INT8)
    x_N = torch.randn(40, 3, 8, 8).numpy()
    artifact = export_onnx(model, precision=Precision.FP32, calibration_N=x_N, folder=tmp_path)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", signed)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(artifact.path), options, providers=["CPUExecutionProvider"])
    executed = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    # The last layer's output is that of the file, in float32.
    assert (executed["QLinearConv"], executed["Conv"]) == (4, 1)
    assert (executed["QLinearConcat"], executed["Concat"]) == (1, 0)
    fp32 = (tmp_path / "model.fp32.onnx").read_bytes()
    layers = [name for name, one in model.module.named_modules() if isinstance(one, nn.Conv2d)]
    kept = in_float(artifact.path.read_bytes(), fp32, layers)
    np.testing.assert_array_equal(outputs_of(kept, x_N), outputs_of(fp32, x_N))


def test_an_int8_file_holds_int8_weights_and_is_verified(exported: Exported) -> None:
    verification = verify(exported.model, exported.artifact, to_file(exported.x_N), min_agreement=0.97)
    assert all(check.passed for check in verification.checks)
    assert verification.census["Conv"] == 3
    assert layers_by_precision(exported.int8) == dict.fromkeys(LAYERS, True)
    graph = onnx.ModelProto.FromString(exported.int8).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    assert not [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in stored]
    weights = [
        stored[node.input[0]].data_type
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    ]
    assert weights == [onnx.TensorProto.INT8] * len(LAYERS)


def test_labels_preprocessing_and_provenance_come_back(tmp_path: Path) -> None:
    model = model_of(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), (3, 3, 3), ("Zebrastreifen", "Fußgänger"))
    preprocessing = Preprocessing(height=3, width=3, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    artifact = export_onnx(
        replace(model, preprocessing=preprocessing),
        precision=Precision.FP32,
        calibration_N=np.zeros((0, 3, 3, 3), np.float32),
        folder=tmp_path,
    )
    metadata = read_onnx_metadata(artifact.path)
    assert metadata.labels == model.labels
    assert metadata.preprocessing == preprocessing
    assert metadata.provenance == {"origin": "tests"}


def test_no_file_tells_where_and_how_the_network_was_defined(exported: Exported) -> None:
    for content in (exported.fp32, exported.int8):
        for trace in (
            "stack_trace",
            "site-packages",
            "digits_network",
            "pkg.torch",
            "Conv2d",
            str(Path(__file__).parent),
        ):
            assert trace.encode() not in content, trace


def test_the_same_model_gives_the_same_bytes_without_a_word(
    exported: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    again = export_onnx(exported.model, precision=Precision.FP32, calibration_N=exported.calibration_N, folder=tmp_path)
    assert again.sha256 == exported.artifact.sha256
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_a_model_that_says_nothing_has_the_layer_of_its_pictures_in_float(exported: Exported, tmp_path: Path) -> None:
    model = replace(exported.model, quantization=None)
    artifact = export_onnx(model, precision=Precision.INT8, calibration_N=exported.calibration_N, folder=tmp_path)
    assert artifact.quantization == Quantization(scheme=Scheme.INT8, kept_float=frozenset({"stem"}))
    assert layers_by_precision(artifact.path.read_bytes()) == {one: one != "stem" for one in LAYERS}
    verify(model, artifact, to_file(exported.x_N), min_agreement=0.97)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_kept_in_float_is_so_alone_and_brings_the_answers_nearer(exported: Exported, layer: str) -> None:
    kept = in_float(exported.int8, exported.fp32, [layer])
    onnx.checker.check_model(kept, full_check=True)
    assert layers_by_precision(kept) == {one: one != layer for one in LAYERS}
    reference = outputs_of(exported.fp32, exported.x_N)
    error, before = (np.mean((outputs_of(one, exported.x_N) - reference) ** 2) for one in (kept, exported.int8))
    assert error < 1.05 * before


def test_with_all_layers_in_float_the_answers_are_those_of_float(exported: Exported) -> None:
    kept = in_float(exported.int8, exported.fp32, LAYERS)
    np.testing.assert_array_equal(outputs_of(kept, exported.x_N), outputs_of(exported.fp32, exported.x_N))


def test_a_layer_in_another_precision_than_meant_fails_verification(exported: Exported, tmp_path: Path) -> None:
    kept = onnx.ModelProto.FromString(in_float(exported.int8, exported.fp32, ["wide"]))
    kept.metadata_props.extend(onnx.ModelProto.FromString(exported.int8).metadata_props)
    path = tmp_path / "kept.onnx"
    onnx.save(kept, str(path))
    artifact = replace(exported.artifact, path=path)
    meant = Quantization(scheme=Scheme.INT8, kept_float=frozenset({"wide"}))
    verify(exported.model, replace(artifact, quantization=meant), to_file(exported.x_N[:50]), min_agreement=0.9)
    with pytest.raises(VerificationError, match=r"layers in another precision than meant is 1.*wide"):
        verify(exported.model, artifact, to_file(exported.x_N[:50]), min_agreement=0.9)


def test_changed_weights_fail_verification(exported: Exported, tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(exported.fp32)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest.raw_data = (1.01 * np.frombuffer(largest.raw_data, np.float32)).astype(np.float32).tobytes()
    path = tmp_path / "changed.onnx"
    onnx.save(model, str(path))
    assert exported.artifact.reference is not None
    with pytest.raises(VerificationError, match="fp32 difference in tolerances"):
        verify(exported.model, replace(exported.artifact.reference, path=path), to_file(exported.x_N), min_agreement=1)


def test_what_cannot_be_exported_is_said_in_one_sentence(exported: Exported, tmp_path: Path) -> None:
    class Eigenvalues(nn.Module):
        def forward(self, x_NDD: Tensor) -> Tensor:
            return torch.linalg.eigvals(x_NDD).real

    model = replace(exported.model, module=torch.fx.symbolic_trace(Eigenvalues()), input_shape=(3, 3))
    with pytest.raises(ConversionError, match="cannot convert the network to ONNX") as caught:
        convert_onnx(model)
    assert "\n" not in caught.value.message
    int4 = replace(exported.model, quantization=Quantization(scheme=Scheme.INT4_WEIGHTS))
    with pytest.raises(ConversionError, match="int4_weights"):
        export_onnx(int4, precision=Precision.FP32, calibration_N=exported.calibration_N, folder=tmp_path)
    with pytest.raises(UsageError, match='no layer "wid"') as misspelt:
        in_float(exported.int8, exported.fp32, ["wid"])
    assert "wide" in misspelt.value.hint
    for useless in (exported.x_N[:0], np.full_like(exported.x_N[:2], np.nan)):
        with pytest.raises(BadInputError, match="calibration"):
            quantize_onnx(exported.fp32, useless)


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime", "nncf"])
def test_a_missing_library_is_named(exported: Exported, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def use_all() -> None:
        if library in ("onnx", "onnxscript"):
            convert_onnx(exported.model)
        quantize_onnx(exported.fp32, exported.calibration_N)

    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=library) as caught:
        use_all()
    assert caught.value.hint == f"pip install 'edgekit[{'nncf' if library == 'nncf' else 'onnx'}]'"


def broken_files(good: bytes) -> dict[str, bytes]:
    noise = np.random.default_rng(0).bytes(len(good))
    return {"empty": b"", "text": b"this is no network\n" * 20, "noise": noise, "half": good[: len(good) // 2]}


@pytest.mark.parametrize("kind", list(broken_files(b"")))
def test_a_broken_file_is_refused_in_one_line(exported: Exported, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(broken_files(exported.fp32)[kind])
    with pytest.raises(BadInputError, match=str(path)) as caught:
        run_in_subprocess(path, exported.x_N[:1])
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_file_never_brings_down_this_process(exported: Exported, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(exported.int8)
    for at in rng.integers(8, len(content), 40):
        content[at] = rng.integers(256)
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with suppress(BadInputError):
        assert len(run_in_subprocess(path, exported.x_N[:1]).outputs) == 1


def test_inputs_of_another_shape_are_refused(exported: Exported) -> None:
    with pytest.raises(BadInputError, match=r"takes arrays of shape \(1, 1, 8, 8\)"):
        run_in_subprocess(exported.artifact.path, np.zeros((1, 1, 8, 9), np.float32))


def test_neither_quantiser_nor_runtime_reports_to_its_maker(exported: Exported, tmp_path: Path) -> None:
    """In a process without pytest and without the variables of build servers, both of which silence them."""
    program = """
import sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(("socket.connect", "socket.get", "socket.send")) else None)
from pathlib import Path
import numpy as np
from edgekit.exporters.onnx_file import outputs_of
from edgekit.exporters.onnx_quantization import quantize_onnx
from edgekit.exporters.runner import run_in_subprocess
path, x = Path(sys.argv[1]), np.ones((2, 1, 8, 8), np.float32)
outputs_of(quantize_onnx(path.read_bytes(), x), x)
run_in_subprocess(path, x)
print("sockets:", *seen)
"""
    environment: dict[str, Any] = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CI", "GITHUB", "ORT_", "NNCF", "XDG"))
    }
    assert exported.artifact.reference is not None
    child = subprocess.run(
        [sys.executable, "-c", program, str(exported.artifact.reference.path)],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "sockets:\n", "")
    assert list(tmp_path.iterdir()) == []

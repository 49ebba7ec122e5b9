from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from exported_networks import SIZE, Exported, pictures
from torch import nn

from edgekit.core.errors import BadInputError, ConversionError, ExitCode
from edgekit.core.images import to_float
from edgekit.core.model import Model, Preprocessing
from edgekit.core.records import sha256_of
from edgekit.devices.precision import Precision
from edgekit.exporters.quantizer import quantize_int8
from edgekit.exporters.runner import run_in_subprocess
from edgekit.exporters.tflite import convert_fp32, export
from edgekit.exporters.tflite_graph import read_graph


def torch_probabilities(exported: Exported) -> np.ndarray:
    with torch.inference_mode():
        return exported.model.module(torch.from_numpy(exported.x_NHWC).permute(0, 3, 1, 2)).numpy()


def test_the_fp32_file_computes_what_torch_computes(exported: Exported) -> None:
    outputs = run_in_subprocess(exported.fp32.path, exported.x_NHWC).outputs
    np.testing.assert_allclose(outputs, torch_probabilities(exported), rtol=1e-4, atol=1e-5)


def test_the_int8_file_chooses_the_same_labels(exported: Exported) -> None:
    reference = torch_probabilities(exported)
    assert len(set(reference.argmax(1))) > 1, "a network with one answer proves nothing"
    outputs = run_in_subprocess(exported.int8.path, exported.x_NHWC).outputs
    assert np.mean(outputs.argmax(1) == reference.argmax(1)) >= 0.93
    assert np.abs(outputs - reference).mean() < 0.02
    np.testing.assert_allclose(outputs.sum(1), 1, atol=0.03)


def test_a_pixel_maps_exactly_though_calibration_never_saw_black_or_white(plain: Exported) -> None:
    (image,) = read_graph(plain.int8.path).inputs
    assert (image.dtype, image.zero_point) == ("int8", -128)
    assert np.float32(image.scale) == np.float32(1 / 255)
    pixels = pictures(20, seed=5)
    pixels[0], pixels[1] = 0, 255
    from_pixels = run_in_subprocess(plain.int8.path, pixels).outputs
    from_floats = run_in_subprocess(plain.int8.path, to_float(pixels, plain.model.preprocessing)).outputs
    np.testing.assert_array_equal(from_pixels, from_floats)


def test_a_normalised_input_covers_black_to_white(grouped: Exported) -> None:
    (image,) = read_graph(grouped.int8.path).inputs
    assert image.scale is not None
    assert image.zero_point is not None
    low, high = image.scale * (-128 - image.zero_point), image.scale * (127 - image.zero_point)
    assert low == pytest.approx(-0.4 / 0.2, abs=image.scale)
    assert high == pytest.approx(0.6 / 0.2, abs=image.scale)


def test_the_artifact_describes_its_file(exported: Exported) -> None:
    for artifact in (exported.int8, exported.fp32):
        assert artifact.sha256 == sha256_of(artifact.path)
        assert artifact.size_bytes == artifact.path.stat().st_size
    assert exported.int8.precision is Precision.INT8
    assert exported.fp32.precision is Precision.FP32
    assert exported.int8.size_bytes < exported.fp32.size_bytes


def test_export_is_silent_and_repeats_itself_byte_by_byte(
    plain: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    calibration = to_float(pictures(64, seed=1), plain.model.preprocessing)
    again = export(plain.model, precision=Precision.INT8, calibration_N=calibration, folder=tmp_path)
    assert again.sha256 == plain.int8.sha256
    assert again.reference is not None
    assert again.reference.sha256 == plain.fp32.sha256
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_calibration_with_broken_values_is_refused(plain: Exported, value: float) -> None:
    with pytest.raises(BadInputError, match="finite"):
        quantize_int8(plain.fp32.path.read_bytes(), np.full((2, SIZE, SIZE, 3), value, np.float32))


def test_calibration_without_images_is_refused(plain: Exported) -> None:
    with pytest.raises(BadInputError, match="calibration inputs"):
        quantize_int8(plain.fp32.path.read_bytes(), np.empty((0, SIZE, SIZE, 3), np.float32))


class Unsupported(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x).mean((1, 2)).reshape(1, 1)


def test_a_network_without_a_tflite_form_is_a_conversion_error() -> None:
    preprocessing = Preprocessing(height=8, width=8)
    model = Model(
        module=Unsupported().eval(),
        input_shape=(3, preprocessing.height, preprocessing.width),
        labels=("a",),
        preprocessing=preprocessing,
        operators=(),
    )
    with pytest.raises(ConversionError, match="svd") as caught:
        convert_fp32(model)
    assert caught.value.code is ExitCode.CONVERSION
    assert "\n" not in caught.value.message

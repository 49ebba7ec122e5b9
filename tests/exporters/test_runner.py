from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from exported_networks import SIZE, Exported

from edgekit.core.errors import BadInputError
from edgekit.exporters.runner import run_in_subprocess

MODELS = Path(__file__).parents[2].parent / "shared" / "data" / "models"
ONE = np.zeros((1, SIZE, SIZE, 3), np.float32)

needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="the models of other makers are not here")


def test_one_output_and_one_time_for_each_input(plain: Exported) -> None:
    result = run_in_subprocess(plain.int8.path, plain.x_NHWC)
    assert result.outputs.shape == (100, 5)
    assert result.outputs.dtype == np.float32
    assert result.times_ms.shape == (100,)
    assert (result.times_ms > 0).all()


def test_threads_do_not_change_the_answer(plain: Exported) -> None:
    one = run_in_subprocess(plain.int8.path, plain.x_NHWC[:9], threads=1)
    two = run_in_subprocess(plain.int8.path, plain.x_NHWC[:9], threads=2)
    np.testing.assert_array_equal(one.outputs, two.outputs)


def broken_files(good: bytes) -> dict[str, bytes]:
    noise = np.random.default_rng(0).bytes(len(good))
    return {
        "empty": b"",
        "zeros": bytes(len(good)),
        "text": b"this is a letter, not a network\n" * 20,
        "noise": noise,
        "noise with the right identifier": noise[:4] + b"TFL3" + noise[8:],
        "half": good[: len(good) // 2],
        "header only": good[:16],
    }


@pytest.mark.parametrize("kind", list(broken_files(b"")))
def test_a_broken_file_is_refused_in_one_line(plain: Exported, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(broken_files(plain.int8.path.read_bytes())[kind])
    with pytest.raises(BadInputError, match=str(path)) as caught:
        run_in_subprocess(path, ONE)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400 + len(str(path))
    assert caught.value.hint


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_never_brings_down_this_process(plain: Exported, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(plain.int8.path.read_bytes())
    for at in rng.integers(8, len(content), 40):
        content[at] = rng.integers(256)
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with suppress(BadInputError):
        assert len(run_in_subprocess(path, ONE).outputs) == 1


@needs_models
@pytest.mark.parametrize("name", ["keyword_scrambled_8bit", "person_detect", "person_detect_vela"])
@pytest.mark.parametrize("shape", [(1, 96, 96, 1), (1, 96)])
def test_files_that_bring_loaders_down_end_as_a_clear_error(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInputError, match=name):
        run_in_subprocess(MODELS / "traps" / f"{name}.tflite", np.zeros(shape, np.float32))


@needs_models
def test_a_network_of_another_maker_reaches_its_published_accuracy() -> None:
    """MLPerf Tiny states 90 % top-1 for keyword spotting; `accuracy 90.2 int8` over these 1,000 inputs."""
    data = np.load(MODELS / "mlperf_tiny" / "kws01_mfcc_int8.npz")
    x_int8 = next(data[key] for key in data if data[key].ndim > 1)
    truth = next(data[key] for key in data if data[key].ndim == 1)
    scale, zero_point = 0.5847029089927673, 83
    x = (x_int8.reshape(-1, 49, 10, 1).astype(np.float32) - zero_point) * np.float32(scale)
    outputs = run_in_subprocess(MODELS / "mlperf_tiny" / "kws_ref_model.tflite", x).outputs
    assert np.mean(outputs.argmax(1) == truth) == pytest.approx(0.902, abs=0.002)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is not a file"):
        run_in_subprocess(tmp_path / "none.tflite", ONE)


def test_inputs_of_another_shape_are_refused(plain: Exported) -> None:
    with pytest.raises(BadInputError, match=r"\(1, 32, 32, 3\), got \(1, 16, 16, 3\)"):
        run_in_subprocess(plain.int8.path, np.zeros((2, 16, 16, 3), np.float32))


def test_a_run_without_end_is_stopped(plain: Exported) -> None:
    with pytest.raises(BadInputError, match=r"did not finish 100 inferences within 0.02 s"):
        run_in_subprocess(plain.int8.path, plain.x_NHWC, timeout_s=0.02)

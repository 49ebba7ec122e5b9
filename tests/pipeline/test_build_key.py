"""Whatever goes into a build is in its key, and nothing else is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.budget import Budget, Share
from edgekit.core.data_folders import data_folder
from edgekit.pipeline.build_key import BuildKeys, is_repeatable
from edgekit.pipeline.plan import plan

Key = Callable[..., str]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three folders of two classes: `here` and `elsewhere` hold the same, `other` one picture that differs."""
    from PIL import Image
    from tiny_supernet import draw

    folders = {name: tmp_path_factory.mktemp(name) / "fruit" for name in ("here", "elsewhere", "other")}
    for name, folder in folders.items():
        rng = np.random.default_rng(1)
        for label in (0, 3):
            (folder / f"class{label}").mkdir(parents=True)
            for number in range(3):
                x_HWC = draw(label, rng)
                if name == "other" and number == 2:
                    x_HWC[0, 0] ^= 255
                Image.fromarray(x_HWC).save(folder / f"class{label}" / f"{number}.png")
    return folders


@pytest.fixture(scope="module")
def key(tiny_supernet: Path) -> Key:
    keys = BuildKeys()
    return lambda **inputs: keys.key_of(plan(**{"model": tiny_supernet, "task": "red rows, blue rows"} | inputs))


LIMITS = st.none() | st.floats(1e-3, 1e6) | st.floats(1e-6, 1.0).map(lambda share: Share(fraction=share))
INPUTS = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["red rows, blue rows", "blue rows, red rows", "colour=red", "red rows, red columns"]),
        "target": st.sampled_from(["rpi4", "rpi4:fp32", "rpi3", "rpi4:onnx", "hikey960"]),
        "budget": st.builds(Budget, latency_ms=LIMITS, size_bytes=LIMITS, macs=LIMITS),
        "seed": st.integers(0, 3),
        "presence": st.booleans(),
        "runtime": st.sampled_from([None, "auto"]),
        "data": st.sampled_from([None, "here", "other"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(one=INPUTS, other=INPUTS)
def test_any_changed_input_changes_the_key(key: Key, pictures: dict[str, Path], one: Any, other: Any) -> None:
    for inputs in (one, other):
        if inputs["runtime"] == "auto":
            inputs["target"] = inputs["target"].partition(":")[0]
    keys = [key(**{**inputs, "data": pictures.get(inputs["data"])}) for inputs in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@settings(max_examples=40, deadline=None)
@given(fraction=st.floats(0.1, 0.9))
def test_a_share_counts_to_its_last_bit(key: Key, fraction: float) -> None:
    near = float(np.nextafter(fraction, 1.0))
    assert key(budget=Budget(macs=Share(fraction=fraction))) != key(budget=Budget(macs=Share(fraction=near)))
    assert key(budget=Budget(macs=Share(fraction=fraction))) != key(budget=Budget(macs=fraction))


def test_folders_of_pictures_count_by_content(key: Key, pictures: dict[str, Path]) -> None:
    own = {name: key(task=None, examples=folder) for name, folder in pictures.items()}
    assert own["here"] == own["elsewhere"] != own["other"]
    calibrated = {name: key(data=folder) for name, folder in pictures.items()}
    assert calibrated["here"] == calibrated["elsewhere"] != calibrated["other"]
    assert not set(own.values()) & set(calibrated.values())


@pytest.mark.parametrize("file", ["weights.safetensors", "calibration.safetensors", "recipe.toml"])
def test_a_supernet_counts_by_content(file: str, tiny_supernet: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_supernet, tmp_path / "copy" / tiny_supernet.name))
    assert key_of(copy) == key_of(tiny_supernet)
    with (copy / file).open("ab") as changed:
        changed.write(b"\n")
    assert key_of(copy) != key_of(tiny_supernet)


def key_of(model: Path) -> str:
    return BuildKeys().key_of(plan(model=model, task="red rows, blue rows"))


def test_what_is_installed_counts(tiny_supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library, and a device of the user's own, which may predict another."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    keys = [key_of(tiny_supernet)]
    (tmp_path / "edgekit" / "devices").mkdir(parents=True)
    keys.append(key_of(tiny_supernet))
    shutil.copytree(data_folder("devices") / "rpi4", tmp_path / "edgekit" / "devices" / "mine")
    facts = tmp_path / "edgekit" / "devices" / "mine" / "device.toml"
    facts.write_text(
        facts.read_text().replace('name = "rpi4"', 'name = "mine"', 1).replace('aliases = ["', 'aliases = ["my ')
    )
    keys.append(key_of(tiny_supernet))
    monkeypatch.setattr("edgekit.pipeline.build_folder.version", lambda _library: "0.0.1")
    keys.append(key_of(tiny_supernet))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_boards_answer_anew(tiny_supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    measured = plan(model=tiny_supernet, task="red rows, blue rows", target="host", board="local")
    assert not is_repeatable(measured)
    plain = plan(model=tiny_supernet, task="red rows, blue rows", target="host")
    assert is_repeatable(plain)
    assert BuildKeys().key_of(measured) != BuildKeys().key_of(plain)

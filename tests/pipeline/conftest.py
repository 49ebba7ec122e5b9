"""Builds of the small supernet, made once for all tests; read them, do not change them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.core.budget import Budget, Share
from edgekit.pipeline.build import build
from edgekit.pipeline.result import BuildResult

TASK = "red rows, blue columns, green rows"
HALF = Budget(macs=Share(fraction=0.5))


@pytest.fixture(scope="session")
def int8_build(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """Three labels, half the MACs."""
    return build(task=TASK, model=tiny_supernet, budget=HALF, output=tmp_path_factory.mktemp("int8") / "out")


@pytest.fixture(scope="session")
def fp32_build(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """The same in fp32."""
    return build(
        task=TASK,
        model=tiny_supernet,
        budget=HALF,
        target="rpi4:tflite-fp32",
        output=tmp_path_factory.mktemp("fp32") / "out",
    )


@pytest.fixture(scope="session", params=["int8_build", "fp32_build"])
def built(request: pytest.FixtureRequest) -> BuildResult:
    result: BuildResult = request.getfixturevalue(request.param)
    return result


@pytest.fixture(scope="session")
def presence_build(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """Is anything red in the picture? Built without an output folder, into the user's cache."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        result = build(task="colour=red", presence=True, model=tiny_supernet)
    assert result.folder.is_relative_to(cache)
    return result


@pytest.fixture
def damaged(int8_build: BuildResult, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(int8_build.folder, tmp_path / "out"))

"""Two networks, exported once for all tests."""

from __future__ import annotations

import pytest
from exported_networks import SIZE, Exported, export_once, make_model

from edgekit.core.model import Preprocessing


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Five labels, pixels in [0, 1]."""
    names = ("left turn", "stop", "bicycles crossing", "ice", "keep right")
    model = make_model(5, names, Preprocessing(height=SIZE, width=SIZE))
    return export_once(model, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Eight labels of which two are asked for, the rest is `other`; pixels normalised by mean and deviation."""
    preprocessing = Preprocessing(height=SIZE, width=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    model = make_model(8, ("cat", "dog", "other"), preprocessing, groups=(2, 0, 2, 2, 1, 2, 2, 2))
    return export_once(model, tmp_path_factory.mktemp("grouped"))


@pytest.fixture(scope="session", params=["plain", "grouped"])
def exported(request: pytest.FixtureRequest) -> Exported:
    result: Exported = request.getfixturevalue(request.param)
    return result

"""Files of a shipped supernet, exported once for all tests of the lab."""

from __future__ import annotations

import pytest
from exported_model import Exported, export


@pytest.fixture(scope="session")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export("fp32", tmp_path_factory.mktemp("fp32") / "out")


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export("int8", tmp_path_factory.mktemp("int8") / "out")

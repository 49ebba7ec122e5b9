"""One build, made once by the command and read by several tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edgekit_command import edgekit


@pytest.fixture(scope="session")
def built(tiny_supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `edgekit build --json` printed, with the folder that it wrote."""
    folder = tmp_path_factory.mktemp("builds") / "out"
    task = "red rows, blue columns, green rows"
    done = edgekit("build", "--model", tiny_supernet, "--task", task, "--latency-ms", "1.0", "-o", folder, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))

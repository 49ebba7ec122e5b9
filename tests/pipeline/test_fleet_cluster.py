"""A fleet on a Ray cluster of two machines, both this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgekit.core.errors import ExitCode
from edgekit.core.records import sha256_of
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify

# Ray takes 127.0.0.1 for another address of this machine, which the cluster of a test does not listen at.
HEAD, FIRST, SECOND = "127.0.0.2", "127.0.0.3", "127.0.0.4"

pytestmark = pytest.mark.slow  # make cluster


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that builds nothing, and two machines that build one member each at a time."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "node_ip_address": HEAD}
    )
    cluster.first = cluster.add_node(num_cpus=1, node_ip_address=FIRST)
    cluster.add_node(num_cpus=1, node_ip_address=SECOND)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def own_classes(tmp_path: Path) -> Path:
    from PIL import Image
    from tiny_supernet import draw

    rng = np.random.default_rng(3)
    for name, label in (("ripe", 0), ("unripe", 3)):
        folder = tmp_path / "fruit" / name
        folder.mkdir(parents=True)
        for number in range(6):
            Image.fromarray(draw(label, rng)).save(folder / f"{number}.png")
    return tmp_path / "fruit"


def start(cluster: Any, file: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgekit.cli.main", "fleet", file, "-o", out, "--ray", cluster.address, "--json"]
    environment = os.environ | {
        "XDG_CACHE_HOME": str(out.parent / "cache"),
        "XDG_CONFIG_HOME": str(out.parent / "config"),
    }
    return subprocess.Popen(
        list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_work(node: Any) -> None:
    """Ray calls a process by what it is at."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    late = time.monotonic() + 120
    while not any("build_there" in " ".join(child.cmdline()) for child in raylet.children()):
        assert time.monotonic() < late
        time.sleep(0.2)


def test_members_travel_and_a_lost_machine_loses_none(
    cluster: Any, tiny_supernet: Path, own_classes: Path, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(f"""
        model = "{tiny_supernet}"
        targets = ["rpi4"]
        [tasks]
        red = "red rows, red columns"
        blue = "blue rows, blue columns"
        fruit = {{ examples = "fruit" }}
        nonsense = "purple rows"
        [budgets]
        all = {{}}
        hopeless = {{ latency_ms = 0.0001 }}
    """)
    with start(cluster, file, tmp_path / "out") as process:
        wait_for_work(cluster.first)
        cluster.remove_node(cluster.first)
        stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == ExitCode.INCOMPLETE, stderr
    assert "will be retried" in stderr
    members = {member["name"]: member for member in json.loads(stdout)["members"]}
    assert {name for name, member in members.items() if member["state"] == "built"} == {
        "red-rpi4-all",
        "blue-rpi4-all",
        "fruit-rpi4-all",
    }
    codes = {name: member["failure"]["code"] for name, member in members.items() if "failure" in member}
    assert {code for name, code in codes.items() if name.startswith("nonsense")} == {ExitCode.USAGE}
    assert {code for name, code in codes.items() if not name.startswith("nonsense")} == {ExitCode.INFEASIBLE}

    there = tmp_path / "out" / "fruit-rpi4-all"
    verify(there)
    assert json.loads((there / "plan.json").read_text())["task"]["examples"] == str(own_classes)
    here = build(examples=own_classes, model=tiny_supernet, output=tmp_path / "here").folder
    assert sha256_of(there / "model.tflite") == sha256_of(here / "model.tflite")

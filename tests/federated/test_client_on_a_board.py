"""A board's part of a course: what it installs, and that it answers without what has no wheel there."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from federated_courses import Recorded
from packaging.requirements import Requirement
from PIL import Image
from tiny_supernet import LABELS, draw

from edgekit.federated.course import Course
from edgekit.federated.datasets import own_samples, server_pictures
from edgekit.federated.messages import Enrolled, Losses, Statistics, Update
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import simulated, studied_of
from edgekit.federated.simulator import Simulator, one_thread
from edgekit.federated.start import start
from edgekit.federated.transport import Kind
from edgekit.federated.wire import decode

ROOT = Path(__file__).parents[2]
NAME = "pi-1"
SETTINGS = Settings(density=0.3, rounds=2, per_round=1, batch=8, candidates=2, interval=1)
ANSWERS = {Kind.OFFER: Enrolled, Kind.STATISTICS: Statistics, Kind.VOTE: Losses, Kind.TRAIN: Update}
CONVERTERS = {"ai-edge-quantizer", "litert-torch"}
ABSENT = (
    *("ai_edge_litert", "ai_edge_quantizer", "jax", "litert_converter", "litert_torch"),
    *("nncf", "onnx", "onnxruntime", "onnxscript", "scipy", "tvm", "tvm_ffi"),
)
SITECUSTOMIZE = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
CLIENT = f"""
import importlib.util, sys
from pathlib import Path

assert not any(map(importlib.util.find_spec, {ABSENT}))
import edgekit.cli.federated, edgekit.federated.flower.client
from edgekit.federated.costs import ClientBudget
from edgekit.federated.joining import client_of
from edgekit.federated.simulator import one_thread
from edgekit.federated.transport import Kind

folder = Path(sys.argv[1])
client = client_of(name="{NAME}", data=folder / "data", budget=ClientBudget(), store=folder / "store")
with one_thread():
    for request in sorted(folder.glob("*.request")):
        kind = Kind(request.stem.partition(" ")[2])
        request.with_suffix(".answer").write_bytes(client.answer(kind, request.read_bytes()))

# A client opens a network in a process that nothing here reaches: once more, without.
from edgekit.networks._read_network import read

(program,) = (folder / "store").glob("*.pt2")
read(folder, program)
assert not (folder / "error.json").exists()
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, tiny_supernet: Path) -> tuple[Path, Recorded]:
    """A course of one client, and the folder of its pictures and of the requests, in their order."""
    folder = tmp_path_factory.mktemp("course")
    rng = np.random.default_rng(0)
    for label, name in enumerate(LABELS):
        (folder / "data" / name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(draw(label, rng)).save(folder / "data" / name / f"{index}.png")
    with one_thread():
        begin = start(model=tiny_supernet, task="all", genotype=None)
        size = begin.input_shape[1]
        studied = studied_of(begin)
        samples = own_samples(folder / "data", begin.labels, size)
        transport = Recorded(inner=Simulator(clients_by_number={0: simulated(NAME, studied, samples)}))
        course = Course.of(begin, SETTINGS, pictures=server_pictures(None, begin))
        course.run(transport)
    for index, (kind, _, request) in enumerate(transport.requests):
        (folder / f"{index} {kind}.request").write_bytes(request)
    return folder, transport


def test_a_client_answers_without_what_a_board_lacks(recorded: tuple[Path, Recorded], tmp_path: Path) -> None:
    folder, transport = recorded
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    command = [sys.executable, "-c", CLIENT, str(folder)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {kind for kind, _, _ in transport.requests} == {Kind.OFFER, Kind.STATISTICS, Kind.VOTE, Kind.TRAIN}
    for index, (kind, _, answer) in enumerate(transport.answers):
        own = decode((folder / f"{index} {kind}.answer").read_bytes(), ANSWERS[kind])
        here = decode(answer, ANSWERS[kind])
        for one in fields(here):
            assert np.array_equal(getattr(own, one.name), getattr(here, one.name)), (kind, one.name)


@pytest.mark.parametrize(
    ("system", "machine", "absent"),
    [("linux", "aarch64", CONVERTERS), ("linux", "x86_64", set()), ("darwin", "arm64", set())],
)
def test_only_boards_go_without_converters(system: str, machine: str, absent: set[str]) -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    place = {"sys_platform": system, "platform_machine": machine}
    left_out = {
        one.name for one in map(Requirement, listed) if one.marker is not None and not one.marker.evaluate(place)
    }
    assert left_out == absent

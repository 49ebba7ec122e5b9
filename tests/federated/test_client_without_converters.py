"""What a board's part of a course imports: nothing that has no wheel for 64-bit Arm, or that a board has no use for."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_supernet import LABELS, draw

from edgekit.federated.client import Studied
from edgekit.federated.course import Course
from edgekit.federated.datasets import own_samples
from edgekit.federated.programs import preprocessing_of, structure_of
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import simulated
from edgekit.federated.simulator import Simulator, one_thread
from edgekit.federated.start import start
from edgekit.federated.transport import Kind
from edgekit.pruning.targets import Answers
from federated_courses import Recorded

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
NOT_ON_A_BOARD = (
    *("ai_edge_litert", "ai_edge_quantizer", "litert_converter", "litert_torch"),
    *("jax", "nncf", "onnx", "onnxruntime", "onnxscript", "scipy", "tvm", "tvm_ffi"),
)
# Answers each request of REQUESTS, in the order of their names, by a file beside it.
CLIENT = """
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

missing, data, store, requests = sys.argv[1].split(), *map(Path, sys.argv[2:])

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import edgekit.cli.federated
import edgekit.federated.flower.client
from edgekit.federated import joining
from edgekit.federated.simulator import one_thread
from edgekit.federated.transport import Kind

client = joining.client_of(name="pi-1", data=data, store=store)
with one_thread():
    for path in sorted(requests.glob("*.request")):
        answer = client.answer(Kind[path.name.split("_")[1].partition(".")[0]], path.read_bytes())
        path.with_suffix(".answer").write_bytes(answer)
"""

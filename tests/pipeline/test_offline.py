"""A build reaches for no network: it succeeds in a namespace without one, and none of its processes tries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(os.environ["ATTEMPTS"], "a") as file:
            file.write(f"{event} {arguments[1:]!r}\\n")

sys.addaudithook(watch)
"""
UNSHARE = ("unshare", "--map-root-user", "--net")


def run_watched(folder: Path, *arguments: str | Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """A Python without a network, and what it and the Pythons that it started tried to reach."""
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    paths = [str(folder / "watch"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "ATTEMPTS": str(folder / "attempts"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*UNSHARE, sys.executable, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    attempts = folder / "attempts"
    return done, attempts.read_text(encoding="utf-8") if attempts.exists() else ""


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    if (
        shutil.which(UNSHARE[0]) is None
        or subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no namespace without a network can be made here")


def test_an_attempt_would_be_seen(tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)"
    done, attempts = run_watched(tmp_path, "-c", code)
    assert done.returncode != 0
    assert "socket.connect (('127.0.0.1', 9),)" in attempts


@pytest.mark.parametrize("target", ["rpi4", pytest.param("rpi4:onnx", marks=pytest.mark.slow)])
def test_a_build_reaches_for_nothing(target: str, tiny_supernet: Path, tmp_path: Path) -> None:
    command = ("-m", "edgekit.cli.main", "build", "--model", tiny_supernet, "--target", target)
    done, attempts = run_watched(tmp_path, *command, "--task", "red rows, blue rows", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert attempts == ""

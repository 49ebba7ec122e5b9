"""Ctrl-C and SIGTERM, wherever they hit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from edgekit_command import COMMAND, ENVIRONMENT

from edgekit.core.errors import ExitCode

STAGES = ("start", "plan", "load", "assemble", "slice", "export", "verify", "profile", "report")


def stop_at(line: str, number: signal.Signals, arguments: list[str], scratch: Path) -> tuple[int, str]:
    """Starts a command, sends it a signal when a line of progress begins so, and returns (exit code, stderr)."""
    scratch.mkdir()
    command = [*COMMAND, *arguments]
    environment = ENVIRONMENT | {"TMPDIR": str(scratch)}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Whoever starts tests in the background has them ignore Ctrl-C, and their children too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        seen = b""
        while chunk := os.read(process.stderr.fileno(), 4096):
            seen += chunk
            if re.search(rb"^%b\b" % line.encode(), seen, re.MULTILINE):
                process.send_signal(number)
                break
        seen += process.stderr.read()
        return process.wait(timeout=60), seen.decode()


def assert_interrupted(code: int, stderr: str) -> None:
    assert code == ExitCode.INTERRUPTED, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_leaves_the_older_build_and_nothing_else(stage: str, tiny_supernet: Path, tmp_path: Path):
    out = tmp_path / "builds" / "out"
    out.mkdir(parents=True)
    (out / "report.json").write_text("the older build")
    scratch = tmp_path / "scratch"
    arguments = ["build", "--model", str(tiny_supernet), "--task", "red rows", "-o", str(out), "--overwrite"]
    assert_interrupted(*stop_at(stage, signal.SIGINT, arguments, scratch))
    assert list(out.parent.iterdir()) == [out]
    assert [path.read_text() for path in out.iterdir()] == ["the older build"]
    # torch keeps a cache there.
    assert [path for path in scratch.iterdir() if not path.name.startswith("torchinductor")] == []


def test_sigterm_leaves_no_folder_and_no_empty_parents(tiny_supernet: Path, tmp_path: Path):
    out = tmp_path / "builds" / "out"
    arguments = ["build", "--model", str(tiny_supernet), "--task", "red rows", "-o", str(out)]
    assert_interrupted(*stop_at("export", signal.SIGTERM, arguments, tmp_path / "scratch"))
    assert not out.parent.exists()

"""What a first build downloads is read from pip's log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from first_build import README_COMMAND, bytes_under, downloaded_bytes

REPO_ROOT = Path(__file__).parents[2]


def test_sizes_of_a_log_are_added_up(tmp_path: Path) -> None:
    wheel = tmp_path / "torch-2.13.0.whl"
    wheel.write_bytes(bytes(1_000_000))
    log = f"""2026-01-01T00:00:00,000   Downloading a-1.0.whl.metadata (512 bytes)
2026-01-01T00:00:00,001   Downloading a-1.0-py3-none-any.whl (21.8 MB)
2026-01-01T00:00:00,002   Downloading b-1.0-py3-none-any.whl (37 kB)
2026-01-01T00:00:00,003   Using cached c-1.0-py3-none-any.whl (5.0 MB)
2026-01-01T00:00:00,004 Processing {wheel}
2026-01-01T00:00:00,005 Processing {tmp_path} (from a checkout)
"""
    assert downloaded_bytes(log) == pytest.approx(512 + 21.8e6 + 37e3 + 1e6)


def test_pip_writes_such_logs(tmp_path: Path) -> None:
    """One that takes a wheel from a folder, so that no network is needed."""
    wheel = tmp_path / "nothing-1.0-py3-none-any.whl"
    subprocess.run([sys.executable, "-c", EMPTY_WHEEL, wheel], check=True)
    log = tmp_path / "pip.log"
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", "--log", log]
    subprocess.run([*command, "--target", tmp_path / "there", wheel], check=True, capture_output=True)
    assert downloaded_bytes(log.read_text(encoding="utf-8")) == wheel.stat().st_size
    assert bytes_under(tmp_path / "there") > 0


def test_the_command_is_that_of_the_readme() -> None:
    assert README_COMMAND in (REPO_ROOT / "README.md").read_text(encoding="utf-8")


EMPTY_WHEEL = """
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    archive.writestr("nothing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: nothing\\nVersion: 1.0\\n")
    archive.writestr("nothing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    archive.writestr("nothing-1.0.dist-info/RECORD", "")
"""

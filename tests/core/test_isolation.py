"""Programs that open foreign files end as one error, whatever they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import BadInputError
from edgekit.core.isolation import run_isolated

FILE = Path("model.tflite")


def run(folder: Path, text: str, *arguments: str, timeout_s: float = 20) -> None:
    program = folder / "program.py"
    program.write_text(text)
    run_isolated(program, arguments, path=FILE, folder=folder, timeout_s=timeout_s)


def test_it_gets_its_folder_and_its_arguments(tmp_path: Path) -> None:
    run(tmp_path, "import sys, pathlib; pathlib.Path(sys.argv[1], 'out').write_text(' '.join(sys.argv[2:]))", "a", "b")
    assert (tmp_path / "out").read_text() == "a b"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ValueError('no such\\ntensor')", "refused: no such tensor"),
        ("bytearray(1 << 40)", "refused: MemoryError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os; os._exit(3)", "refused"),
    ],
)
def test_a_crash_names_the_file(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(BadInputError, match=reason) as caught:
        run(tmp_path, text)
    assert str(FILE) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["import time; time.sleep(60)", "while True: pass"])
def test_what_does_not_end_is_ended(tmp_path: Path, text: str) -> None:
    with pytest.raises(TimeoutError):
        run(tmp_path, text, timeout_s=1)

"""Runs another program under limits and notes why it refused; `isolation.py` starts it.

It imports nothing of edgekit: it starts in a few hundredths of a second.
"""

from __future__ import annotations

import resource
import runpy
import sys
from pathlib import Path


def main(folder: Path, address_space_bytes: int, cpu_s: int, program: str, *arguments: str) -> None:
    """Writes `refusal.txt` into `folder` and exits with 1 where the program raises."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    # At the harder limit the system kills without saying why.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    package = str(Path(__file__).parents[2])
    if package not in sys.path:  # where edgekit is not installed but lies in a folder
        sys.path.insert(0, package)
    sys.argv = [program, str(folder), *arguments]
    try:
        runpy.run_path(program, run_name="__main__")
    except Exception as error:
        (folder / "refusal.txt").write_text(" ".join(str(error).split())[:200] or type(error).__name__)
        sys.exit(1)


if __name__ == "__main__":
    folder, address_space_bytes, cpu_s, *program = sys.argv[1:]
    main(Path(folder), int(address_space_bytes), int(cpu_s), *program)

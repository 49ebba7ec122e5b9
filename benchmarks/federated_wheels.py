"""Which wheels a 64-bit Arm board with Linux needs to take part in federated learning, whether they exist, and how large they are.

    python benchmarks/federated_wheels.py [--python 3.11]

Flower's extra is resolved with all that it needs, the others of BOARD by themselves; versions are those of constraints.txt. pip
takes the platform for the choice of files but this machine for conditions such as `platform_machine`, so run it on Linux. Nothing
is built: what has no wheel is said to have none. Everything is downloaded, some 600 MB, to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import Table

ROOT = Path(__file__).parents[1]
FLOWER = "flwr[dp]>=1.41,<1.42"
BOARD = (
    "torch",
    "torch-pruning",
    "safetensors",
    "pillow",
    "platformdirs",
    "pyarrow",
    "ai-edge-litert",
    "litert-converter",
)
# Up to the C library of Debian 12 (2.36), the oldest first: pip takes of each platform only the files that name it, and the first.
GLIBC = (17, 18, 24, 27, 28, 31, 34, 35, 36)
PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC), "linux_aarch64"]


def pip(command: str, *arguments: str | Path, python: str) -> subprocess.CompletedProcess[str]:
    fixed = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    fixed += [word for platform in PLATFORMS for word in ("--platform", platform)]
    fixed += ["--constraint", str(ROOT / "constraints.txt")]
    return subprocess.run(
        [sys.executable, "-m", "pip", command, "--quiet", *fixed, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def closure_of_flower(folder: Path, *, python: str) -> list[str]:
    """Names with versions."""
    report = folder / "report.json"
    done = pip(
        "install",
        "--dry-run",
        "--ignore-installed",
        "--target",
        folder / "none",
        "--report",
        report,
        FLOWER,
        python=python,
    )
    if done.returncode:
        sys.exit(done.stderr)
    installed = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return sorted((f"{item['name']}=={item['version']}" for item in installed), key=str.lower)


def wheel_of(requirement: str, folder: Path, *, python: str) -> Path | None:
    """None where there is none."""
    target = folder / requirement
    done = pip("download", "--no-deps", "--dest", target, requirement, python=python)
    return None if done.returncode else next(target.glob("*.whl"))


def row(requirement: str, wheel: Path | None) -> list[str]:
    if wheel is None:
        return [requirement.partition("==")[0], "", "no wheel", ""]
    name, version, *_, platform = wheel.stem.split("-")
    glibc = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", platform)] or [17] * (
        "manylinux2014" in platform
    )
    needs = f"glibc 2.{min(glibc)}" if glibc else "any machine"
    return [name, version, needs, f"{wheel.stat().st_size / 1e6:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.11")
    python = parser.parse_args().python
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flower = [
            row(wanted, wheel_of(wanted, folder, python=python)) for wanted in closure_of_flower(folder, python=python)
        ]
        board = [row(wanted, wheel_of(wanted, folder, python=python)) for wanted in BOARD]
    columns = ["package", "version", "needs", "MB"]
    total = sum(float(size or 0) for *_, size in flower)
    print(
        Table(
            title=f"{FLOWER} with all that it needs: {len(flower)} wheels, {total:.0f} MB", columns=columns, rows=flower
        )
    )
    print(Table(title="beside it, each by itself", columns=columns, rows=board))


if __name__ == "__main__":
    main()

"""From an empty environment to the first finished build: minutes and megabytes.

    python3 benchmarks/first_build.py [-o RESULT.json]
    python3 benchmarks/first_build.py --wheel WHEEL --venv DIR [-o RESULT.json]

The command of the README, `make demo`, in a copy of what is committed; or a wheel, into the new environment DIR, which stays:
build, verify and predict in a folder from which no checkout can be imported. Needs a bare Python alone. pip's cache is not used,
so all that is fetched counts; how long that takes is the network's matter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[1]
RESULTS = REPO_ROOT / "benchmarks" / "results"
README_COMMAND = "make demo"
BUILD = ("build", "--target", "rpi4", "--task", "stop, yield, no entry", "--latency-ms", "1.0", "-o", "out")
PICTURES = ("stop", "yield", "no_entry")
_UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstBuild:
    """`downloaded_mb` is what pip took from an index or a folder, `installed_mb` what the environment grew by."""

    command: str
    minutes: float
    downloaded_mb: float
    installed_mb: float
    seconds: dict[str, float]


def downloaded_bytes(log: str) -> float:
    """What pip's log (PIP_LOG) says it fetched: sizes as it prints them, and those of files that it took from a folder."""
    fetched = re.findall(r" Downloading \S+ \(([\d.]+) (bytes|kB|MB|GB)\)", log)
    local = {Path(path) for path in re.findall(r" Processing (/\S+)", log)}
    return sum(float(size) * _UNITS[unit] for size, unit in fetched) + sum(
        path.stat().st_size for path in local if path.is_file()
    )


def bytes_under(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


class Course:
    """Commands one after the other, each with its seconds, without what the caller's environment would lend them."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        lent = ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "PIP_REQUIRE_VIRTUALENV")
        self._environment = {name: value for name, value in os.environ.items() if name not in lent} | {
            "PIP_LOG": str(log),
            "PIP_NO_CACHE_DIR": "1",
        }

    def run(self, step: str, *command: str | Path) -> str:
        """Its stdout, which is shown too. Ends this program with its exit code where it fails."""
        print("+", shlex.join(map(str, command)), file=sys.stderr)
        started = time.perf_counter()
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        self.seconds[step] = round(time.perf_counter() - started, 1)
        print(done.stdout, end="", file=sys.stderr)
        if done.returncode:
            sys.exit(done.returncode)
        return done.stdout


def by_the_readme(work: Path) -> FirstBuild:
    checkout, log = work / "edgekit", work / "pip.log"
    checkout.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=REPO_ROOT, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-x", "-C", checkout], input=archive.stdout, check=True)
    course = Course(checkout, log)
    course.run(README_COMMAND, *README_COMMAND.split())
    return _account(README_COMMAND, course, log, bytes_under(checkout / ".venv"))


def of_a_wheel(wheel: Path, venv: Path, work: Path) -> FirstBuild:
    log = work / "pip.log"
    course = Course(work, log)
    course.run("environment", sys.executable, "-m", "venv", venv)
    empty = bytes_under(venv)
    # torch comes first, as in the Makefile: so pip takes the build without CUDA where there is one.
    pip = (venv / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", REPO_ROOT / "constraints.txt")
    course.run("torch", *pip, "torch")
    course.run("edgekit", *pip, wheel)
    installed = bytes_under(venv) - empty

    edgekit = venv / "bin" / "edgekit"
    version = course.run("version", edgekit, "--version")
    assert wheel.name.split("-")[1] in version.split(), version
    imported = course.run("import", venv / "bin" / "python", "-c", "import edgekit; print(edgekit.__file__)")
    assert Path(imported.strip()).is_relative_to(venv), imported
    course.run("build", edgekit, *BUILD)
    course.run("verify", edgekit, "verify", "out")
    for name in PICTURES:
        shutil.copy(REPO_ROOT / "examples" / f"{name}.png", work)
    answered = json.loads(
        course.run("predict", edgekit, "predict", "out", *(f"{name}.png" for name in PICTURES), "--json")
    )
    labels = [prediction["label"].replace(" ", "_") for prediction in answered["predictions"]]
    assert labels == list(PICTURES), labels
    return _account(f"pip install {wheel.name}", course, log, installed)


def _account(command: str, course: Course, log: Path, installed: int) -> FirstBuild:
    return FirstBuild(
        command=command,
        minutes=round(sum(course.seconds.values()) / 60, 2),
        downloaded_mb=round(downloaded_bytes(log.read_text(encoding="utf-8")) / 1e6, 1),
        installed_mb=round(installed / 1e6, 1),
        seconds=course.seconds,
    )


def table(build: FirstBuild) -> str:
    rows: Sequence[tuple[str, object]] = (
        ("minutes", build.minutes),
        ("downloaded MB", build.downloaded_mb),
        ("installed MB", build.installed_mb),
        *((f"seconds of {step}", seconds) for step, seconds in build.seconds.items()),
    )
    return "\n".join([f"first build: {build.command}", *(f"  {name:<24}{value:>10}" for name, value in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="default: the command of the README")
    parser.add_argument("--venv", type=Path, help="of a wheel: an environment that is not there yet")
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/first_build[_wheel].json")
    options = parser.parse_args()
    if (options.wheel is None) != (options.venv is None) or (options.venv and options.venv.exists()):
        parser.error("give --wheel with --venv, a folder that is not there yet; or neither")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        build = (
            of_a_wheel(options.wheel.resolve(), options.venv.resolve(), work) if options.wheel else by_the_readme(work)
        )
    print(table(build))
    output = options.output or RESULTS / ("first_build_wheel.json" if options.wheel else "first_build.json")
    record = {"python": platform.python_version(), "processors": os.cpu_count(), **asdict(build)}
    output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

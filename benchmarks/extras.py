"""Whether edgekit and its extras can be installed together: by Python, by machine, every package as a wheel.

    python benchmarks/extras.py [-o RESULT.json]

Resolved by uv, which, unlike pip, resolves for machines other than this one; nothing is installed. With constraints.txt, the set
that is tested, and without, the newest that the ranges of pyproject.toml allow. That a set resolves does not say that it runs: the
tests run on Python 3.11.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from harness import REPO_ROOT, Table

from edgekit.core.records import write_json

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = {"x86_64": "x86_64-manylinux_2_28", "aarch64": "aarch64-manylinux_2_36"}
PROJECT, CONSTRAINTS = REPO_ROOT / "pyproject.toml", REPO_ROOT / "constraints.txt"


def resolve(extras: Sequence[str], *, python: str, machine: str, constrained: bool) -> int | str:
    """The number of packages, or uv's reason why there is no set."""
    command = [sys.executable, "-m", "uv", "pip", "compile", PROJECT, "--quiet", "--no-header", "--no-annotate"]
    command += ["--only-binary", ":all:", "--python-version", python, "--python-platform", MACHINES[machine]]
    command += [word for extra in extras for word in ("--extra", extra)]
    command += ["--constraint", CONSTRAINTS] if constrained else []
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        return " ".join(done.stderr.split())
    return len(re.findall(r"^\S+==", done.stdout, re.MULTILINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = REPO_ROOT / "benchmarks" / "results" / "extras.json"
    parser.add_argument("-o", "--output", type=Path, default=default, help="default: benchmarks/results/extras.json")
    output = parser.parse_args().output
    extras = sorted(
        set(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]) - {"dev"}
    )
    sets = {"edgekit": [], **{f"edgekit[{extra}]": [extra] for extra in extras}, f"edgekit[{','.join(extras)}]": extras}
    found = [
        {
            "set": name,
            "constraints": constrained,
            "machine": machine,
            **{python: resolve(wanted, python=python, machine=machine, constrained=constrained) for python in PYTHONS},
        }
        for name, wanted in sets.items()
        for constrained in (True, False)
        for machine in MACHINES
    ]
    rows = [
        [
            row["set"],
            "tested set" if row["constraints"] else "newest",
            row["machine"],
            *(count if isinstance(count := row[python], int) else "none" for python in PYTHONS),
        ]
        for row in found
    ]
    print(Table(title="packages, all as wheels", columns=["set", "versions", "machine", *PYTHONS], rows=rows))
    for row in found:
        for python in PYTHONS:
            if isinstance(row[python], str):
                print(f"{row['set']}, {row['machine']}, Python {python}: {row[python][:400]}")
    both = [row[python] for row in found[-len(MACHINES) * 2 :] for python in ("3.11",)]
    print(f"all extras together on Python 3.11: {'met' if all(isinstance(one, int) for one in both) else 'MISSED'}")
    write_json(output, {"schema_version": 1, "benchmark": "extras", "rows": found})


if __name__ == "__main__":
    main()

"""Known vulnerabilities of what is installed beside edgekit, as pip-audit and an advisory service know them.

    python ci/release/audit.py PYTHON [--required]

PYTHON is that of the environment; pip-audit belongs to the one that runs this. Exit code 1 where an advisory is found that
`accepted-advisories.toml` does not list, with --required also where anything could not be audited. pip-audit itself reports "no
known vulnerabilities" of packages that its service does not know; here they are named as not audited.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCEPTED = Path(__file__).with_name("accepted-advisories.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Names of packages, and advisories as `package version: id, other ids`."""

    audited: Sequence[str]
    not_audited: Sequence[str]
    found: Sequence[str]
    accepted: Sequence[str]


def accepted_ids(text: str) -> frozenset[str]:
    """Of accepted-advisories.toml. Raises ValueError for one without a reason."""
    entries = tomllib.loads(text).get("accepted", [])
    for entry in entries:
        if not str(entry.get("reason", "")).strip():
            raise ValueError(f"{entry.get('id')}: say why it is accepted")
    return frozenset(entry["id"] for entry in entries)


def read_audit(report: Mapping[str, Any], accepted: Collection[str]) -> Audit:
    """Of pip-audit's JSON. An advisory is accepted by its id or by any of its aliases."""
    audited, skipped = [], []
    found: dict[bool, list[str]] = {True: [], False: []}
    for package in report["dependencies"]:
        (skipped if "skip_reason" in package else audited).append(package["name"])
        for advisory in package.get("vulns", []):
            ids = [advisory["id"], *advisory["aliases"]]
            known = any(one in accepted for one in ids)
            found[known].append(f"{package['name']} {package['version']}: {', '.join(ids)}")
    return Audit(audited=audited, not_audited=skipped, found=found[False], accepted=found[True])


def installed(python: str) -> list[str]:
    """All but edgekit, as `name==version`; without local versions such as +cpu, which no advisory names."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    packages = [package for package in json.loads(listed.stdout) if package["name"] != "edgekit"]
    return [f"{package['name']}=={package['version'].partition('+')[0]}" for package in packages]


def pip_audit(requirements: Sequence[str]) -> dict[str, Any]:
    """Its report; where its service cannot be reached, one that says of each package so."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["pip-audit said nothing"]
        print(lines[-1])
        names = [requirement.partition("==")[0] for requirement in requirements]
        return {"dependencies": [{"name": name, "skip_reason": lines[-1]} for name in names]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="of the environment to audit")
    parser.add_argument("--required", action="store_true", help="fail where anything could not be audited")
    options = parser.parse_args()
    audit = read_audit(pip_audit(installed(options.python)), accepted_ids(ACCEPTED.read_text(encoding="utf-8")))

    for advisory in audit.accepted:
        print(f"accepted: {advisory}")
    for advisory in audit.found:
        print(f"vulnerable: {advisory}")
    if audit.not_audited and not audit.audited:
        print("not audited: the advisory service cannot be reached, or knows none of these packages")
    elif audit.not_audited:
        print(f"not audited, for the advisory service does not know them: {', '.join(audit.not_audited)}")
    print(f"audited {len(audit.audited)} of {len(audit.audited) + len(audit.not_audited)} packages")
    return int(bool(audit.found) or (options.required and bool(audit.not_audited)))


if __name__ == "__main__":
    sys.exit(main())

"""An audit names what is vulnerable and what it could not look up; silence of the service is not a clean bill."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPO_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_audit", REPO_ROOT / "ci" / "release" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def package(name: str, *advisories: str) -> dict[str, Any]:
    """As pip-audit writes it."""
    vulns = [
        {"id": one, "fix_versions": ["9"], "aliases": [f"CVE-{one[-1]}"], "description": "..."} for one in advisories
    ]
    return {"name": name, "version": "1.0", "vulns": vulns}


def test_an_advisory_is_found_unless_accepted_by_any_of_its_names(audit: ModuleType) -> None:
    report = {"dependencies": [package("a"), package("b", "PYSEC-1"), package("c", "PYSEC-2", "GHSA-3")]}
    read = audit.read_audit(report, {"PYSEC-1", "CVE-2"})
    assert read.audited == ["a", "b", "c"]
    assert read.accepted == ["b 1.0: PYSEC-1, CVE-1", "c 1.0: PYSEC-2, CVE-2"]
    assert read.found == ["c 1.0: GHSA-3, CVE-3"]


def test_what_the_service_does_not_know_is_not_audited(audit: ModuleType) -> None:
    report = {"dependencies": [package("a"), {"name": "b", "skip_reason": "not found"}]}
    read = audit.read_audit(report, set())
    assert (read.audited, read.not_audited) == (["a"], ["b"])


@pytest.mark.parametrize(
    ("packages", "advisories", "code", "words"),
    [
        (["known"], [], (0, 0), "audited 1 of 1 packages"),
        (["known"], ["PYSEC-7"], (1, 1), "vulnerable: known 1.0: PYSEC-7"),
        (["absent"], [], (0, 1), "not audited: the advisory service cannot be reached"),
        (["known", "absent"], [], (0, 1), "not audited, for the advisory service does not know them: absent"),
    ],
)
def test_the_exit_code_says_so(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    packages: list[str],
    advisories: list[str],
    code: tuple[int, int],
    words: str,
) -> None:
    """Without and with --required; "absent" is what the service does not know."""
    report = {
        "dependencies": [
            {"name": name, "skip_reason": "..."} if name == "absent" else package(name, *advisories)
            for name in packages
        ]
    }
    monkeypatch.setattr(audit, "pip_audit", lambda _requirements: report)
    for options, expected in zip(([], ["--required"]), code, strict=True):
        monkeypatch.setattr(sys, "argv", ["audit.py", sys.executable, *options])
        assert audit.main() == expected
        assert words in capsys.readouterr().out


def test_packages_are_those_of_the_environment_without_local_versions(audit: ModuleType) -> None:
    names = dict(requirement.split("==") for requirement in audit.installed(sys.executable))
    assert "edgekit" not in names
    assert "+" not in names["torch"]


def test_acceptance_has_a_reason(audit: ModuleType) -> None:
    assert audit.accepted_ids(audit.ACCEPTED.read_text(encoding="utf-8")) is not None
    entry = '[[accepted]]\nid = "PYSEC-1"\n'
    with pytest.raises(ValueError, match="PYSEC-1: say why"):
        audit.accepted_ids(entry)
    assert audit.accepted_ids(f'{entry}reason = "not called"\n') == {"PYSEC-1"}

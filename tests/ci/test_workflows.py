"""The workflow files for users: what they may do, and that the commands they call exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from manual_pages import check_call, fences

from edgekit.version import VERSION

REPO_ROOT = Path(__file__).parents[2]
FOLDER = REPO_ROOT / "ci" / "workflows"
LAB, PI, RELEASE = "hardware-lab.yml", "hardware-pi.yml", "release.yml"
PAGES = (
    "ci/workflows/README.md",
    "docs/boards.md",
    "docs/raspberry-pi.md",
    "docs/hardware-tests.md",
    "docs/exit-codes/6.md",
    "docs/exit-codes/7.md",
)


def workflow(name: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")))


def triggers(name: str) -> set[str]:
    """YAML 1.1 takes the key `on` for true."""
    return set(workflow(name)[True])


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def test_the_folder_holds_what_is_tested() -> None:
    assert {path.name for path in FOLDER.glob("*.yml")} == {LAB, PI, RELEASE}


@pytest.mark.parametrize("name", [LAB, PI])
def test_a_job_may_read_and_ends(name: str) -> None:
    read = workflow(name)
    assert read["permissions"] == {"contents": "read"}
    assert read["concurrency"]["group"]
    for job in read["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 120
        assert "permissions" not in job
    assert "secrets." not in (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [LAB, PI, RELEASE])
def test_actions_are_pinned_and_keep_no_token(name: str) -> None:
    for line in re.findall(r"uses: .+", (FOLDER / name).read_text(encoding="utf-8")):
        assert re.match(r"uses: actions/[a-z-]+@([0-9a-f]{40} # v[0-9.]+|v[0-9]+)", line), line
    for step in steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_a_release_is_made_by_what_cannot_write_and_published_by_what_runs_no_code_of_ours() -> None:
    read = workflow(RELEASE)
    assert read[True] == {"push": {"tags": ["v*"]}}
    assert read["permissions"] == {"contents": "read"}
    make, publish = read["jobs"]["make"], read["jobs"]["publish"]
    assert "permissions" not in make
    assert publish["needs"] == "make"
    assert publish["permissions"] == {"contents": "write", "id-token": "write", "attestations": "write"}
    assert not any(step.get("uses", "").startswith("actions/checkout@") for step in publish["steps"])
    assert any(step.get("uses", "").startswith("actions/attest-build-provenance@") for step in publish["steps"])
    assert "cd dist && sha256sum --check SHA256SUMS" in [step.get("run") for step in publish["steps"]]
    assert "secrets." not in (FOLDER / RELEASE).read_text(encoding="utf-8")


def test_a_release_is_audited_and_its_tag_is_the_version() -> None:
    runs = [step["run"] for step in workflow(RELEASE)["jobs"]["make"]["steps"] if "run" in step]
    assert "ci/release/make --audit-required" in runs
    assert os.access(REPO_ROOT / "ci" / "release" / "make", os.X_OK)
    for tag, code in ((f"v{VERSION}", 0), ("v0.0.0", 1)):
        done = subprocess.run(
            ["sh", "-c", runs[0]], cwd=REPO_ROOT, env=os.environ | {"GITHUB_REF_NAME": tag}, check=False
        )
        assert done.returncode == code


def test_the_real_board_is_never_given_to_a_pull_request() -> None:
    assert triggers(PI) == {"schedule", "workflow_dispatch"}
    assert workflow(PI)["concurrency"] == {"group": "edgekit-board-pi", "cancel-in-progress": False}
    for job in workflow(PI)["jobs"].values():
        assert "self-hosted" in job["runs-on"]


def test_the_lab_runs_on_hosted_machines_for_everybody() -> None:
    assert triggers(LAB) == {"push", "pull_request"}
    for job in workflow(LAB)["jobs"].values():
        assert re.fullmatch(r"ubuntu-[0-9.]+", job["runs-on"])


def test_the_cache_is_the_folder_of_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.lab.sysroot import cache_folder

    (job,) = workflow(LAB)["jobs"].values()
    monkeypatch.setenv("XDG_CACHE_HOME", job["env"]["XDG_CACHE_HOME"])
    (cached,) = [step["with"]["path"] for step in job["steps"] if "actions/cache@" in step.get("uses", "")]
    assert cached == str(cache_folder())


@pytest.mark.parametrize("name", [LAB, PI])
def test_what_is_called_exists(name: str, pytestconfig: pytest.Config) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    for path in re.findall(r"\.edgekit/([\w./]+)", text):
        assert (REPO_ROOT / path).exists(), path
    options = re.findall(r"--edgekit-[a-z]+", text)
    assert "--edgekit-board" in options
    for option in options:
        pytestconfig.getoption(option)  # raises ValueError for one that pytest does not know
    called = [line for step in steps(name) for line in step.get("run", "").splitlines() if line.startswith("edgekit ")]
    assert ["edgekit", "devices", "probe"] in [shlex.split(line)[:3] for line in called]
    for line in called:
        check_call(shlex.split(line))


def test_the_set_up_of_the_lab_is_called_as_it_is() -> None:
    setup = REPO_ROOT / "ci" / "lab" / "setup"
    assert os.access(setup, os.X_OK)
    assert 'lab up --device "$device"' in setup.read_text(encoding="utf-8")
    assert ".edgekit/ci/lab/setup" in [step.get("run") for step in steps(LAB)]


@pytest.mark.parametrize("file", PAGES)
def test_links_of_the_pages_lead_somewhere(file: str) -> None:
    path = REPO_ROOT / file
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize(
    ("file", "names"), [("docs/boards.md", "camera local my-qemu phone pi"), ("docs/raspberry-pi.md", "local pi")]
)
def test_boards_of_the_pages_are_described_rightly(
    file: str, names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.devices.boards.board import boards_file, list_boards
    from edgekit.devices.device import load_device

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    tables = [fence.text for fence in fences(REPO_ROOT / file) if fence.language == "toml"]
    boards_file().parent.mkdir()
    boards_file().write_text("\n".join(tables), encoding="utf-8")
    boards = list_boards()
    assert [board.name for board in boards] == names.split()
    for board in boards:
        load_device(board.device)

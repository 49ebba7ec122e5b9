"""A fleet with members that fail, one of them with its worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from edgekit.core.errors import ExitCode, UsageError
from edgekit.core.records import sha256_of
from edgekit.pipeline.build import build
from edgekit.pipeline.check import verify
from edgekit.pipeline.fleet.fleet import Progress, fleet
from edgekit.pipeline.fleet.member import Failure, State
from edgekit.pipeline.fleet.result import FleetResult

TASKS = {"victim": "green rows, green columns", "red": "red rows, red columns", "nonsense": "purple rows"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleets:
    """The same fleet twice in one folder: a worker of the first is killed."""

    file: Path
    first: FleetResult
    second: FleetResult
    seen: tuple[tuple[str, str], ...]
    left: tuple[str, ...]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The caches and settings of a user."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "CONFIG"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        yield home


@pytest.fixture(scope="module")
def fleets(tiny_supernet: Path, home: Path) -> Fleets:
    file, out = home / "fleet.toml", home / "out"
    lines = [f'model = "{tiny_supernet}"', 'targets = ["rpi4"]', "[tasks]"]
    lines += [f'{name} = "{task}"' for name, task in TASKS.items()]
    lines += ["[budgets]", "all = {}", "hopeless = { latency_ms = 1e-4 }"]
    file.write_text("\n".join(lines))
    seen: list[tuple[str, str]] = []

    def kill(progress: Progress) -> None:
        seen.append((progress.name, progress.stage))
        if (progress.name, progress.stage) == ("victim-rpi4-all", "export"):
            for worker in psutil.Process().children():
                worker.kill()

    first = fleet(file, output=out, workers=1, progress=kill)
    left = (*(str(path) for path in out.glob(".*")), *(str(child) for child in psutil.Process().children()))
    return Fleets(file=file, first=first, second=fleet(file, output=str(out)), seen=tuple(seen), left=left)


def failures(result: FleetResult) -> dict[str, Failure]:
    return {one.member.name: one.failure for one in result.members if one.failure is not None}


def states(result: FleetResult) -> dict[str, State]:
    return {one.member.name: one.state for one in result.members}


def test_a_member_that_fails_stops_no_other(fleets: Fleets) -> None:
    assert states(fleets.first) == {
        "victim-rpi4-all": State.FAILED,
        "victim-rpi4-hopeless": State.FAILED,
        "red-rpi4-all": State.BUILT,
        "red-rpi4-hopeless": State.FAILED,
        "nonsense-rpi4-all": State.FAILED,
        "nonsense-rpi4-hopeless": State.FAILED,
    }
    failed = failures(fleets.first)
    assert failed["nonsense-rpi4-all"].code == ExitCode.USAGE
    assert "purple" in failed["nonsense-rpi4-all"].message
    assert failed["red-rpi4-hopeless"].code == ExitCode.INFEASIBLE
    assert "no network fits" in failed["red-rpi4-hopeless"].message


def test_a_killed_worker_is_told_and_replaced(fleets: Fleets) -> None:
    failure = failures(fleets.first)["victim-rpi4-all"]
    assert failure.code == 128 + signal.SIGKILL
    assert "killed by SIGKILL" in failure.message
    assert fleets.left == ()


def test_progress_names_stages_and_ends(fleets: Fleets) -> None:
    stages = [stage for name, stage in fleets.seen if name == "red-rpi4-all"]
    assert {"plan", "load", "export", "verify"} <= set(stages)
    assert stages[-1] == "built"


def test_the_second_run_builds_what_the_first_did_not(fleets: Fleets) -> None:
    assert states(fleets.second) == states(fleets.first) | {
        "victim-rpi4-all": State.BUILT,
        "red-rpi4-all": State.KEPT,
    }


def test_members_are_what_single_builds_are(fleets: Fleets, tiny_supernet: Path, tmp_path: Path) -> None:
    alone = build(task=TASKS["red"], model=tiny_supernet, output=tmp_path / "red").folder
    member = fleets.second.folder / "red-rpi4-all"
    for file in ("model.tflite", "outputs.safetensors", "plan.json", "recipe.json", "env.json", "labels.txt"):
        assert sha256_of(member / file) == sha256_of(alone / file)
    verify(member)


def test_the_record_tells_all(fleets: Fleets) -> None:
    record = json.loads((fleets.second.folder / "fleet.json").read_text())
    assert record == json.loads(json.dumps(fleets.second.to_json()))
    assert record["counts"] == {"built": 1, "cached": 0, "kept": 1, "failed": 4}
    for member in record["members"]:
        if "failure" in member:
            assert member["failure"]["code"] > 0
            assert member["failure"]["message"]
        else:
            report = json.loads((fleets.second.folder / member["folder"] / "report.json").read_text())
            assert member["figures"] == report["figures"]
            assert all(figure["evidence"] and figure["source"] for figure in member["figures"])


def test_the_page_links_reports_and_says_what_failed(fleets: Fleets) -> None:
    page = (fleets.second.folder / "index.html").read_text()
    for one in fleets.second.members:
        assert one.member.name in page
        if one.failure is not None:
            assert str(one.failure.code) in page
    links = [line.partition('"')[0] for line in page.split('href="')[1:]]
    assert len(links) == 2
    assert all((fleets.second.folder / link).is_file() for link in links)
    assert "http" not in page.replace("http-equiv", "")


def test_another_folder_comes_from_the_cache_without_torch(fleets: Fleets, home: Path) -> None:
    """Twins too: a member that is the same under another name."""
    file = home / "twins.toml"
    text = (
        fleets.file.read_text().replace("hopeless = { latency_ms = 1e-4 }", "").replace('nonsense = "purple rows"', "")
    )
    file.write_text(text.replace("[budgets]", f'twin = "{TASKS["red"]}"\n[budgets]'))
    program = (
        "import sys, edgekit; result = edgekit.fleet(sys.argv[1], output=sys.argv[2]);"
        "print(*(one.state for one in result.members), *({'torch', 'litert_torch', 'jax'} & set(sys.modules)))"
    )
    out = home / "cached"
    done = subprocess.run([sys.executable, "-c", program, file, out], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cached"] * 3
    kept = fleets.second.folder / "red-rpi4-all" / "model.tflite"
    assert {sha256_of(out / f"{name}-rpi4-all" / "model.tflite") for name in ("red", "twin")} == {sha256_of(kept)}
    report = json.loads((out / "red-rpi4-all" / "report.json").read_text())
    assert report["folder"] == str(out / "red-rpi4-all")
    assert report["cached"]["built"]
    verify(out / "red-rpi4-all")


def test_python_gets_what_the_fleet_built(fleets: Fleets, tiny_supernet: Path) -> None:
    """Without a folder of its own a build is looked for in the same cache."""
    stages: list[str] = []
    result = build(task=TASKS["red"], model=tiny_supernet, progress=stages.append)
    assert stages == ["plan"]
    report = json.loads((fleets.second.folder / "red-rpi4-all" / "report.json").read_text())
    record = json.loads(json.dumps(result.to_json())) | {"folder": report["folder"]}
    assert record == {name: report[name] for name in record}
    verify(result.folder)


@pytest.mark.usefixtures("fleets")
def test_what_was_damaged_or_asked_otherwise_is_not_kept(tiny_supernet: Path, home: Path) -> None:
    out = home / "damaged"
    file = home / "one.toml"
    text = f'model = "{tiny_supernet}"\ntargets = ["rpi4"]\n[tasks]\nx = "{TASKS["red"]}"\n[budgets]\nall = {{}}\n'
    file.write_text(text)
    assert fleet(file, output=out).count(State.CACHED) == 1
    assert fleet(file, output=out).count(State.KEPT) == 1
    (out / "x-rpi4-all" / "model.tflite").write_bytes(b"not a network")
    assert fleet(file, output=out).count(State.CACHED) == 1
    verify(out / "x-rpi4-all")
    file.write_text(text.replace(TASKS["red"], TASKS["nonsense"]))
    assert fleet(file, output=out).count(State.FAILED) == 1
    file.write_text(text.replace(TASKS["red"], TASKS["victim"]))
    assert fleet(file, output=out).count(State.CACHED) == 1
    assert json.loads((out / "x-rpi4-all" / "report.json").read_text())["plan"]["task"]["text"] == TASKS["victim"]


def test_a_folder_that_no_fleet_wrote_stays(fleets: Fleets, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds no fleet\.json"):
        fleet(fleets.file, output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_fleets_do_not_share_a_folder(fleets: Fleets) -> None:
    def again(_progress: Progress) -> None:
        with pytest.raises(UsageError, match="another fleet"):
            fleet(fleets.file, output=fleets.second.folder)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fleet(fleets.file, output=fleets.second.folder, progress=again)


def test_a_cluster_that_does_not_answer_is_said_at_once(fleets: Fleets, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        fleet(fleets.file, output=tmp_path / "out", ray="127.0.0.1:9")
    assert time.monotonic() - started < 30
    assert (tmp_path / "out" / "fleet.json").is_file()  # what needed no cluster is there

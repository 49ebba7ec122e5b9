"""The cache gives back what was put there, whole, and stays within its limit."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.confusion import Confusion
from edgekit.core.errors import BadInputError
from edgekit.core.quantity import Evidence, Quantity
from edgekit.core.records import sha256_of, write_json
from edgekit.devices.precision import Precision
from edgekit.pipeline.build_cache import DEFAULT_LIMIT_BYTES, BuildCache, is_intact, set_limit, user_cache
from edgekit.pipeline.examples import LearntHead
from edgekit.pipeline.plan import BuildPlan, plan
from edgekit.pipeline.runtime_choice import Candidate


@pytest.fixture(scope="module")
def planned(tiny_supernet: Path) -> BuildPlan:
    return plan(model=tiny_supernet, task="red rows, blue rows")


ACCURACY = Quantity(value=0.9, unit="fraction", evidence=Evidence.PREDICTED, source="a predictor", interval=None)
CHECKED = {"precision": "int8", "inputs": 1, "checks": [], "census": {}, "notes": [], "slice_difference": 0.0}
BARE = {
    "genotype": "ff",
    "labels": ["red rows", "blue rows"],
    "stages_s": {},
    "verification": CHECKED,
    **{name: [] for name in ("waterfall", "front", "kinds", "operators")},
    "figures": [{"name": "accuracy", **ACCURACY.to_json()}],
    "supernet": {"name": "stripes", "data": "stripes", "licence": "none"},
}
"""What the page of a build is made of, as little as there can be."""


def write_folder(folder: Path, planned: BuildPlan, *, size: int = 1000) -> Path:
    """What looks like a build; its model is `size` bytes."""
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(os.urandom(size))
    write_json(folder / "plan.json", planned.to_json())
    sums = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    record = {"schema_version": 1, "folder": str(folder), "plan": planned.to_json(), "sha256": sums}
    write_json(folder / "report.json", record | BARE)
    return folder


def test_gives_back_what_was_put_there(planned: BuildPlan, tmp_path: Path) -> None:
    cache = BuildCache(folder=tmp_path / "cache")
    build = write_folder(tmp_path / "build", planned)
    assert not cache.take("key", tmp_path / "taken", planned)
    assert not (tmp_path / "taken").exists()
    cache.put("key", build)
    assert cache.take("key", tmp_path / "taken", planned)
    assert sha256_of(tmp_path / "taken" / "model.tflite") == sha256_of(build / "model.tflite")
    record = json.loads((tmp_path / "taken" / "report.json").read_text())
    assert record["folder"] == str(tmp_path / "taken")
    assert record["cached"]["key"] == "key"
    assert is_intact(tmp_path / "taken")


def test_the_report_says_when_it_was_built(planned: BuildPlan, tmp_path: Path) -> None:
    cache = BuildCache(folder=tmp_path / "cache")
    build = write_folder(tmp_path / "build", planned)
    os.utime(build / "report.json", (1_700_000_000, 1_700_000_000))
    cache.put("key", build)
    cache.take("key", tmp_path / "taken", planned)
    assert (
        json.loads((tmp_path / "taken" / "report.json").read_text())["cached"]["built"] == "2023-11-14T22:13:20+00:00"
    )


def test_records_name_the_folders_that_were_asked_for(planned: BuildPlan, tmp_path: Path) -> None:
    cache = BuildCache(folder=tmp_path / "cache")
    cache.put("key", write_folder(tmp_path / "build", replace(planned, data=tmp_path / "then")))
    cache.take("key", tmp_path / "taken", replace(planned, data=tmp_path / "now"))
    for name, record in (("plan.json", lambda it: it), ("report.json", lambda it: it["plan"])):
        assert record(json.loads((tmp_path / "taken" / name).read_text()))["calibration"] == str(tmp_path / "now")
    assert is_intact(tmp_path / "taken")


@pytest.mark.parametrize("damage", ["changed", "missing", "no sums", "no JSON"])
def test_a_damaged_build_is_no_build(damage: str, planned: BuildPlan, tmp_path: Path) -> None:
    cache = BuildCache(folder=tmp_path / "cache")
    build = write_folder(tmp_path / "build", planned)
    cache.put("key", build)
    model, report = cache.place("key") / "model.tflite", cache.place("key") / "report.json"
    match damage:
        case "changed":
            model.write_bytes(b"another network")
        case "missing":
            model.unlink()
        case "no sums":
            report.write_text('{"schema_version": 1}')
        case "no JSON":
            report.write_text("{")
    assert not cache.take("key", tmp_path / "taken", planned)
    assert list(cache.entries()) == []
    assert not (tmp_path / "taken").exists()
    cache.put("key", build)
    assert cache.take("key", tmp_path / "taken", planned)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 20_000), min_size=1, max_size=8),
    limit=st.integers(1, 60_000),
    seed=st.integers(0, 99),
)
def test_never_fills_the_disk(
    sizes: list[int], limit: int, seed: int, planned: BuildPlan, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Within the limit, or the last build alone; the builds used last are those that stay."""
    scratch = tmp_path_factory.mktemp("cache")
    cache = BuildCache(folder=scratch / "cache", limit_bytes=limit)
    rng = random.Random(seed)
    used: list[str] = []
    for number, size in enumerate(sizes):
        cache.put(str(number), write_folder(scratch / f"build{number}", planned, size=size))
        used.append(str(number))
        entries = list(cache.entries())
        held = {entry.folder.name for entry in entries}
        assert sum(entry.size_bytes for entry in entries) <= limit or len(held) == 1
        assert held == set(used[-len(held) :])
        again = rng.choice(sorted(held))
        assert cache.holds(again)
        used = [name for name in used if name in held and name != again] + [again]
        for when, name in enumerate(used):  # clocks of file systems are coarse
            os.utime(cache.place(name), (when, when))
    assert [path for path in cache.folder.iterdir() if path.name.startswith(".")] == []


def test_the_least_used_go_first(planned: BuildPlan, tmp_path: Path) -> None:
    cache = BuildCache(folder=tmp_path / "cache")
    for number in range(4):
        cache.put(str(number), write_folder(tmp_path / str(number), planned, size=10_000))
        os.utime(cache.place(str(number)), (number, number))
    assert cache.holds("0")  # used now
    small = replace(cache, limit_bytes=30_000)
    small.trim()
    assert {entry.folder.name for entry in small.entries()} == {"0", "3"}


def test_at_zero_nothing_is_kept(planned: BuildPlan, tmp_path: Path) -> None:
    cache = BuildCache(folder=tmp_path / "cache", limit_bytes=0)
    cache.put("key", write_folder(tmp_path / "build", planned))
    assert list(cache.entries()) == []


def test_folders_of_killed_processes_go(planned: BuildPlan, tmp_path: Path) -> None:
    cache = BuildCache(folder=tmp_path / "cache")
    old, new = cache.folder / ".old.gone", cache.folder / ".new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (1, 1))
    cache.put("key", write_folder(tmp_path / "build", planned))
    assert not old.exists()
    assert new.exists()


def _many(folder: Path, planned: BuildPlan, builds: list[Path], seed: int) -> None:
    rng = random.Random(seed)
    cache = BuildCache(folder=folder / "cache", limit_bytes=45_000)
    for turn in range(40):
        build = rng.choice(builds)
        cache.put(build.name, build)
        place = folder / f"{seed}-{turn}"
        if cache.take(build.name, place, planned):
            assert is_intact(place)
            assert (place / "model.tflite").read_bytes() == (build / "model.tflite").read_bytes()
        if turn % 15 == 14:
            cache.clear()


def test_processes_do_not_disturb_each_other(planned: BuildPlan, tmp_path: Path) -> None:
    """They put, take, trim and clear the same few builds, more than fit."""
    builds = [write_folder(tmp_path / f"build{number}", planned, size=10_000) for number in range(5)]
    processes = [
        multiprocessing.get_context("fork").Process(target=_many, args=(tmp_path, planned, builds, seed))
        for seed in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")] == []


def test_the_limit_is_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_cache().limit_bytes == DEFAULT_LIMIT_BYTES
    set_limit(12_345)
    assert user_cache().limit_bytes == 12_345
    (tmp_path / "edgekit" / "cache.toml").write_text("builds_limit_bytes = -1")
    with pytest.raises(BadInputError, match="no number of bytes"):
        user_cache()


def test_own_classes_and_candidates_are_read_as_they_were_written() -> None:
    latency = Quantity(value=1.0, unit="ms", evidence=Evidence.PREDICTED, source="a cost model", interval=(0.5, 2.0))
    confusion = Confusion(labels=("bolt", "nut"), counts=((4, 1), (0, 5)))
    learnt = LearntHead(ridge=0.1, stand_ins="stop", pictures={"bolt": 5}, recalls={"bolt": 0.8}, confusion=confusion)
    able = Candidate(runtime="onnx", precision=Precision.INT8, verified=True, latency=latency, is_calibrated=True)
    refused = Candidate(runtime="tvm", precision=Precision.FP32, verified=False, obstacle="no linker")
    assert Quantity.from_json(json.loads(json.dumps(latency.to_json()))) == latency
    assert LearntHead.from_json(json.loads(json.dumps(learnt.to_json()))) == learnt
    for candidate in (able, refused):
        assert Candidate.from_json(json.loads(json.dumps(candidate.to_json()))) == candidate

"""Tuning finds the cheapest tile, goes on where it stopped, and what it found is used by the next export."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.errors import BadInputError
from edgekit.core.quantity import Evidence
from edgekit.devices.boards.board import load_board
from edgekit.devices.boards.session import open_board
from edgekit.devices.device import load_device

pytest.importorskip("tvm", reason="pip install 'edgekit[tvm]'")

from edgekit.exporters.tvm.cpu import cpu_of, host_target
from edgekit.exporters.tvm.tile import Tile, Workload, default_tile, tiles
from edgekit.exporters.tvm.tile_database import TileDatabase, Tuned
from edgekit.exporters.tvm.tuning import BATCH, LEAST_GAIN, Bench, tune

WORKLOAD = Workload(
    kind="convolution",
    precision="float32",
    height=4,
    width=4,
    channels=8,
    out_height=4,
    out_width=4,
    out_channels=40,
)


def bench_of(costs: Callable[[Path, Path], Sequence[float]], evidence: Evidence = Evidence.MEASURED) -> Bench:
    return Bench(device=load_device("host"), costs=costs, evidence=evidence, source="a test")


def turns(many: int) -> Callable[[], bool]:
    """So many turns, then it is late."""
    asked = count(1)
    return lambda: next(asked) > many


def priced(cost_of: Callable[[int], float]) -> Callable[[Path, Path], Sequence[float]]:
    """The n-th function of a library costs what `cost_of` says; the first is the default tile, then comes the best so far."""

    def costs(_library: Path, functions: Path) -> Sequence[float]:
        return [cost_of(index) for index, _ in enumerate(json.loads(functions.read_text()))]

    return costs


def tuned_by(
    costs: Callable[[Path, Path], Sequence[float]],
    database: TileDatabase,
    *,
    many: int = 1,
    evidence: Evidence = Evidence.MEASURED,
    workload: Workload = WORKLOAD,
) -> TileDatabase:
    kept: list[TileDatabase] = []
    result = tune(
        [workload],
        database,
        bench_of(costs, evidence),
        late=turns(many),
        keep=kept.append,
        progress=lambda _line: None,
    )
    assert kept[-1] == result
    return result


@pytest.fixture(scope="module")
def candidates() -> list[Tile]:
    return list(tiles(WORKLOAD, cpu_of(host_target())))


def test_the_cheapest_tile_is_kept_and_the_next_turn_goes_on(candidates: list[Tile]) -> None:
    first = tuned_by(priced(lambda index: 10.0 - index), TileDatabase())
    found = first.tuned[WORKLOAD.key]
    assert found.tile == candidates[BATCH - 1]
    assert found.tried == BATCH
    assert found.default_cost == 10.0
    second = tuned_by(priced(lambda index: 10.0 + index), first)
    assert second.tuned[WORKLOAD.key].tried == min(2 * BATCH, len(candidates))
    # Now the default, first of all, is the cheapest.
    assert second.tuned[WORKLOAD.key].tile == default_tile(WORKLOAD, cpu_of(host_target()))


def test_a_gain_within_the_noise_changes_nothing() -> None:
    database = tuned_by(priced(lambda index: 10.0 - 0.5 * LEAST_GAIN * (index > 0)), TileDatabase())
    assert database.tuned[WORKLOAD.key].tile == default_tile(WORKLOAD, cpu_of(host_target()))


def test_figures_of_other_evidence_are_begun_anew() -> None:
    counted = tuned_by(priced(lambda index: 1e6 - index), TileDatabase(), evidence=Evidence.EMULATED)
    measured = tuned_by(priced(lambda index: 5.0 + index), counted)
    found = measured.tuned[WORKLOAD.key]
    assert found.evidence is Evidence.MEASURED
    assert found.tried == BATCH
    assert found.cost == 5.0


def test_it_ends_when_all_tiles_are_tried() -> None:
    small = replace(WORKLOAD, kind="dense", height=1, width=1, out_height=1, out_width=1, out_channels=8)
    database = tune(
        [small],
        TileDatabase(),
        bench_of(priced(lambda _index: 1.0)),
        late=lambda: False,
        keep=lambda _database: None,
        progress=lambda _line: None,
    )
    assert database.tuned[small.key].tried == len(list(tiles(small, cpu_of(host_target()))))


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_kernels_are_timed_on_this_machine(precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # other tests use this machine at the same time
    workload = replace(WORKLOAD, precision=precision)
    with open_board(load_board("local")) as session:
        database = tuned_by(
            lambda library, functions: session.kernels(library, functions, threads=1), TileDatabase(), workload=workload
        )
    found = database.tuned[workload.key]
    assert 0 < found.cost <= found.default_cost


def test_a_database_comes_back_from_its_file(tmp_path: Path, candidates: list[Tile]) -> None:
    tuned = Tuned(
        tile=candidates[-1], cost=1.5, default_cost=2.0, tried=9, evidence=Evidence.EMULATED, source="lab, 1 thread"
    )
    database = TileDatabase().with_tuned(WORKLOAD, tuned)
    database.write(tmp_path / "tiles.json")
    assert TileDatabase.read(tmp_path / "tiles.json") == database
    assert database.tile(WORKLOAD, cpu_of(host_target())) == candidates[-1]


@pytest.mark.parametrize("damage", ["{}", '{"schema_version": 1, "tiles": {"x": {}}}', "no JSON"])
def test_a_damaged_database_is_bad_input(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tiles.json"
    path.write_text(damage)
    with pytest.raises(BadInputError) as caught:
        TileDatabase.read(path)
    assert caught.value.hint

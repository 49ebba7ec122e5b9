"""The archive: what it holds, its file, and how soon it answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from small_assemblers import SOME_TASKS, SPEC, UNCERTAINTY, cost_of, searcher, with_archive

from edgekit.assembler.assembler import Assembler
from edgekit.assembler.costs import CostTables
from edgekit.assembler.elites import ANY_TASK, ARCHIVE, Elites, hardness
from edgekit.assembler.generator import Generator
from edgekit.assembler.predictor import AccuracyPredictor, Pairs
from edgekit.assembler.searcher import Searcher
from edgekit.assembler.training.illumination import FAMILIES, add_archive, illuminate
from edgekit.core.budget import Budget, Share
from edgekit.core.errors import BadInputError
from edgekit.core.records import sha256_of
from edgekit.supernet.spec import BlockKind, BlockSpec, SupernetSpec
from edgekit.supernet.storage import CARD, SupernetFolder, open_supernet
from edgekit.tasks.task import Task

FULL = with_archive(searcher(0))


def silent(_done: int, _of: int) -> None:
    pass


def archived(folder: Path, elites: dict[str, np.ndarray] | None = None) -> SupernetFolder:
    """A folder with an archive that its card names; nothing else is there."""
    path = folder / ARCHIVE
    if elites is None:
        FULL.elites.save(path)
    else:
        save_file(elites, path)
    card = {"sha256": {ARCHIVE: sha256_of(path)}}
    return SupernetFolder(name="small", path=folder, card=card, spec=SPEC, vocabulary=None)  # type: ignore[arg-type]


def test_the_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    found = Elites.load(archived(tmp_path))
    for name in ("genes_EG", "family_E", "edges_F"):
        assert np.array_equal(getattr(found, name), getattr(FULL.elites, name))
    assert (tmp_path / ARCHIVE).stat().st_size < 100_000


ARRAYS = {"genes_EG": FULL.elites.genes_EG, "family_E": FULL.elites.family_E, "edges_F": FULL.elites.edges_F}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"genes_EG": ARRAYS["genes_EG"] + 9}, "not those of a subnet"),
        ({"genes_EG": np.ascontiguousarray(ARRAYS["genes_EG"][:, 1:])}, "expected"),
        ({"family_E": ARRAYS["family_E"] + 9}, "families"),
        ({"edges_F": np.ascontiguousarray(ARRAYS["edges_F"][::-1])}, "families"),
        ({"genes_EG": ARRAYS["genes_EG"].astype(np.float32)}, "expected"),
        ({"more": ARRAYS["edges_F"]}, "more"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused(tmp_path: Path, changed: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        Elites.load(archived(tmp_path, {**ARRAYS, **changed}))
    assert ARCHIVE in caught.value.message
    assert "edgekit models archive" in caught.value.hint


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"\xff" * 400])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: bytes) -> None:
    folder = archived(tmp_path)
    (tmp_path / ARCHIVE).write_bytes(damage)
    with pytest.raises(BadInputError, match="SHA-256"):
        Elites.load(folder)
    same_sum = replace(folder, card={"sha256": {ARCHIVE: sha256_of(tmp_path / ARCHIVE)}})
    with pytest.raises(BadInputError, match=ARCHIVE):
        Elites.load(same_sum)
    (tmp_path / ARCHIVE).unlink()
    with pytest.raises(BadInputError, match="cannot read"):
        Elites.load(folder)


def test_a_supernet_without_an_archive_answers_too(tiny_supernet: Path, tmp_path: Path) -> None:
    folder = open_supernet(tiny_supernet)
    assert ARCHIVE not in folder.card["sha256"]
    assembler = Assembler.load(folder)
    task = Task(indices=(0, 1, 2), text="three")
    half = Budget(macs=Share(fraction=0.5))
    before = assembler.searcher.search(task, half, assembler.tables(task, cost_of()), seed=0)

    copy = Path(shutil.copytree(tiny_supernet, tmp_path / "copy"))
    (copy / "recipe.toml").write_text((Path(__file__).parents[2] / "models" / "signs43" / "recipe.toml").read_text())
    path = add_archive(open_supernet(copy), report=silent)
    card = json.loads((copy / CARD).read_text())
    assert card["sha256"][ARCHIVE] == sha256_of(path)
    assert {**card["sha256"], ARCHIVE: None} == {**folder.card["sha256"], ARCHIVE: None}
    written = path.read_bytes()
    with_one = Assembler.load(open_supernet(copy))
    assert len(with_one.searcher.elites.genes_EG)
    after = with_one.searcher.search(task, half, with_one.tables(task, cost_of()), seed=0)
    assert after.accuracy >= before.accuracy - 1e-3
    add_archive(open_supernet(copy), report=silent)
    assert path.read_bytes() == written, "the recipe's seed decides"


def test_families_run_from_easy_to_hard() -> None:
    families = [FULL.elites.family_of(hardness(FULL.judge_of(task))) for task in SOME_TASKS]
    errors = [hardness(FULL.judge_of(task)) for task in SOME_TASKS]
    in_order = [family for _, family in sorted(zip(errors, families, strict=True))]
    assert in_order == sorted(in_order)
    assert set(FULL.elites.family_E.tolist()) == {ANY_TASK, *range(1, FAMILIES + 1)}


def test_the_elites_of_a_family_are_a_ladder_of_sizes() -> None:
    tables = CostTables.of(SPEC, SOME_TASKS[0], cost_of())
    for family in range(FAMILIES + 1):
        macs = np.sort(tables.of_genes(FULL.elites.genes_EG[FULL.elites.family_E == family].astype(np.int64))["macs"])
        assert macs[0] < 0.3 * tables.full.macs
        assert macs[-1] > 0.8 * tables.full.macs
        assert all(more < 2 * less for less, more in pairwise(macs))


def large_searcher() -> Searcher:
    """200 labels, 8 blocks of 8 bricks, 3 image sizes; a predictor by which every brick helps."""
    channels = [16, 24, 24, 32, 32, 48, 48, 64, 96]
    blocks = tuple(
        BlockSpec(
            kind=BlockKind.INVERTED,
            in_channels=before,
            out_channels=after,
            hidden_channels=64,
            kernel=3,
            stride=2 if index in (0, 2, 4) else 1,
            bricks=8,
        )
        for index, (before, after) in enumerate(pairwise(channels))
    )
    spec = SupernetSpec(image_sizes=(32, 48, 64), stem_channels=16, blocks=blocks, labels=200)
    draw = torch.Generator().manual_seed(0)
    predictor = AccuracyPredictor(spec).eval().requires_grad_(False)
    for parameter in predictor.traits.parameters():
        parameter.copy_(torch.rand(parameter.shape, generator=draw) * 0.04)
    predictor.level.zero_()
    predictor.shape.fill_(1.0)
    predictor.base.copy_(torch.randn(200, 200, generator=draw) - 5)
    predictor.common.fill_(-0.1)
    predictor.deviation.copy_(-0.05 * torch.rand(200, 200, 12, generator=draw))
    empty = Searcher(
        spec=spec,
        generator=Generator(spec).eval().requires_grad_(False),
        predictor=predictor,
        uncertainty=UNCERTAINTY,
        elites=Elites.none(spec),
    )
    rng = np.random.default_rng(0)
    sets = (rng.choice(200, size, replace=False) for size in (3, 5, 8, 12, 20, 30))
    some = [Task(indices=tuple(sorted(indices.tolist())), text="some") for indices in sets]
    return replace(empty, elites=illuminate(empty, some, seed=0, report=silent))


def test_the_archive_and_the_search_judge_few_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 * 9**8, so that they answer soon; benchmarks/assembly_time.py measures how soon."""
    large = large_searcher()
    judged: list[int] = []
    recalls = AccuracyPredictor.recalls_of_pairs

    def counted(predictor: AccuracyPredictor, genes_PG: torch.Tensor, blocks: Sequence[Pairs]) -> torch.Tensor:
        judged.append(len(genes_PG))
        return recalls(predictor, genes_PG, blocks)

    monkeypatch.setattr(AccuracyPredictor, "recalls_of_pairs", counted)
    for size in (5, 200):
        task = Task(indices=tuple(range(size)), text="first")
        tables = CostTables.of(large.spec, task, cost_of())
        budget = Budget(latency_ms=Share(fraction=0.5), size_bytes=Share(fraction=0.6))
        judged.clear()
        at_once = large.at_once(task, budget, tables)
        assert at_once is not None
        assert sum(judged) <= len(large.elites.genes_EG)
        judged.clear()
        searched = large.search(task, budget, tables, seed=0)
        assert sum(judged) < 10_000
        assert searched.accuracy >= at_once.accuracy

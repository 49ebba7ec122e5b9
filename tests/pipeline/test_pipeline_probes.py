"""Networks to measure on an unknown board."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import UsageError
from edgekit.devices.cost_model import load_cost_model, total_work, units_of
from edgekit.devices.known_rates import known_rates
from edgekit.devices.target import parse_target
from edgekit.exporters.tflite_graph import read_graph
from edgekit.pipeline.calibrate import calibrate
from edgekit.pipeline.probes import TABLE, chosen_genotypes, random_genotypes, write_probes
from edgekit.pipeline.profile import profile
from edgekit.supernet.description import describe
from edgekit.supernet.storage import open_supernet

TARGET = parse_target("rpi4:tflite-fp32")


def test_probes_say_more_than_random_networks_and_differ_in_size() -> None:
    spec, cost_model = open_supernet("signs43").spec, load_cost_model(TARGET)

    def work(genotype):
        return total_work(describe(spec, genotype, rows=5, sums=None), TARGET.precision)

    def information(genotypes) -> float:
        x_NF = np.array([units_of(work(one)) for one in genotypes])
        x_NF /= np.array([[cost_model.rates.latency_ms(work(one))] for one in genotypes])
        told = x_NF[:, x_NF.any(0)]
        told = told / np.linalg.norm(told, axis=0)
        return float(np.linalg.slogdet(told.T @ told + 1e-9 * np.eye(told.shape[1]))[1])

    relatives = [rates[TARGET.precision] for rates in known_rates().values()]
    chosen = chosen_genotypes(spec, cost_model, relatives, count=12, seed=0)
    assert chosen == chosen_genotypes(spec, cost_model, relatives, count=12, seed=0)
    assert len(set(chosen)) == 12
    rng, pool = np.random.default_rng(0), random_genotypes(spec, 1)
    others = [information([pool[index] for index in rng.choice(len(pool), 12, replace=False)]) for _ in range(20)]
    assert information(chosen) > max(others)
    macs = [work(genotype).mmacs for genotype in chosen]
    assert max(macs) > 4 * min(macs)


@pytest.mark.parametrize(("count", "words"), [(9, "too few"), (51, "too many")])
def test_too_few_and_too_many_probes_are_refused(tmp_path: Path, count: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        write_probes(tmp_path / "probes", like="rpi4", count=count)
    assert not (tmp_path / "probes").exists()


def test_from_probes_to_a_target(tiny_supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board twice as slow as a Raspberry Pi 4, with noise of 2 %."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder, known, rng = tmp_path / "probes", load_cost_model(TARGET), np.random.default_rng(0)
    probes = write_probes(folder, like=str(TARGET), count=10, model=tiny_supernet)

    def true_ms(file: Path) -> float:
        return 2 * known.latency_ms(read_graph(file).operators)

    with (folder / TABLE).open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["file", "p50_ms"])
        writer.writerows([probe.file, true_ms(folder / probe.file) * rng.normal(1, 0.02)] for probe in probes)
    result = calibrate("my-board", folder / TABLE, like="rpi4", threads=4, runtime_version="2.16.1")
    assert result.precisions[0].error.value < 0.05
    (latency, *_) = profile(folder / probes[0].file, "my-board").figures
    assert latency.quantity.value == pytest.approx(true_ms(folder / probes[0].file), rel=0.05)

"""Networks to measure on a board that nothing is known of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import UsageError
from edgekit.core.records import whole_folder, write_bytes
from edgekit.devices.cost_model import CostModel, Rates, Work, load_cost_model, relative_of, total_work, units_of
from edgekit.devices.few_measurements import Matrix, d_optimal
from edgekit.devices.known_rates import known_rates
from edgekit.devices.own_board import LEAST
from edgekit.devices.runtimes import REFERENCE
from edgekit.devices.target import Target, parse_target
from edgekit.supernet.description import describe
from edgekit.supernet.genotype import Genotype
from edgekit.supernet.spec import SupernetSpec
from edgekit.supernet.storage import SupernetFolder, open_supernet

TABLE = "measurements.csv"
_POOL, _MOST = 400, 50
_LABELS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """`file` holds the subnet of `genotype`."""

    file: str
    genotype: str
    macs: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def write_probes(
    output: Path | str,
    *,
    like: str,
    count: int = 12,
    model: str | Path = "signs43",
    overwrite: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _stage: None,
) -> tuple[Probe, ...]:
    """Writes `count` .tflite files that together tell most of the rates of a board, and a table for their latencies.

    They are subnets of a supernet, chosen D-optimally out of random ones by what their operators do for each millisecond that
    the target `like` is predicted to take, and by how far the known devices disagree about them; its precision is theirs. Where
    nothing predicts `like`, a known device stands for it.
    Raises UsageError for too few or too many, a folder that exists, and a runtime other than TFLite.
    """
    check_count(count)
    target = _predicted(parse_target(like))
    if target.runtime != REFERENCE:
        raise UsageError(
            f"{target}: boards are calibrated with {REFERENCE} only", hint=f"ask for {target.device.name}:{REFERENCE}"
        )
    cost_model, folder = load_cost_model(target), open_supernet(model)
    relatives = [rates[target.precision] for rates in known_rates().values() if target.precision in rates]
    chosen = chosen_genotypes(folder.spec, cost_model, relatives, count=count, seed=seed)
    with whole_folder(Path(output), overwrite=overwrite, marker=TABLE) as working:
        probes = []
        for number, genotype in enumerate(chosen):
            progress(f"probe {number + 1} of {count}")
            probes.append(_probe(folder, genotype, str(target), working, number=number, seed=seed))
        rows = ["file,p50_ms", *(f"{probe.file}," for probe in probes)]
        write_bytes(working / TABLE, ("\n".join(rows) + "\n").encode())
    return tuple(probes)


def check_count(count: int) -> None:
    """Raises UsageError for too few networks or too many."""
    if count < LEAST:
        raise UsageError(f"{count} networks are too few to fit a cost model", hint=f"ask for {LEAST} or more")
    if count > _MOST:
        raise UsageError(f"{count} networks are too many to measure", hint=f"ask for at most {_MOST}")


def _predicted(target: Target) -> Target:
    """The target, or where nothing predicts it the first that is known in its precision."""
    try:
        relative_of(target)
    except UsageError:
        known = next(name for name, rates in known_rates().items() if target.precision in rates)
        return parse_target(f"{known}:{target.runtime}-{target.precision}")
    return target


def chosen_genotypes(
    spec: SupernetSpec, cost_model: CostModel, relatives: Sequence[Rates], *, count: int, seed: int
) -> tuple[Genotype, ...]:
    genotypes = random_genotypes(spec, seed)
    works = [_work(spec, genotype, cost_model) for genotype in genotypes]
    latency_ms_N = np.array([cost_model.rates.latency_ms(work) for work in works])
    x_NF = np.array([units_of(work) for work in works]) / latency_ms_N[:, None]
    x_NF = np.hstack([x_NF, _disagreement(works, relatives)])
    return tuple(genotypes[index] for index in d_optimal(x_NF, count))


def _disagreement(works: Sequence[Work], relatives: Sequence[Rates]) -> Matrix:
    """(network, device): by which factor each device is slower on this network than on others, beside all devices, as logarithm."""
    log_ms_ND = np.log([[rates.latency_ms(work) for rates in relatives] for work in works])
    log_ms_ND -= log_ms_ND.mean(0)
    beside_ND: Matrix = log_ms_ND - log_ms_ND.mean(1, keepdims=True)
    return beside_ND


def random_genotypes(spec: SupernetSpec, seed: int) -> list[Genotype]:
    """From nearly closed to nearly open, at every image size."""
    rng = np.random.default_rng(seed)
    least, most = np.array(spec.least_genes), np.array(spec.most_genes)
    sizes = rng.integers(least[0], most[0] + 1, (_POOL, 1))
    counts = least[1:] + rng.binomial(most[1:] - least[1:], rng.random((_POOL, 1)))
    drawn = np.hstack([sizes, counts])
    return list(dict.fromkeys(spec.genotype(tuple(map(int, genes))) for genes in drawn))


def _work(spec: SupernetSpec, genotype: Genotype, cost_model: CostModel) -> Work:
    return total_work(describe(spec, genotype, rows=_LABELS, sums=None), cost_model.target.precision)


def _probe(folder: SupernetFolder, genotype: Genotype, target: str, working: Path, *, number: int, seed: int) -> Probe:
    from edgekit.pipeline.build import build

    labels = [label.name for label in folder.vocabulary.labels[:_LABELS]]
    file = f"probe-{number + 1:02}.tflite"
    with tempfile.TemporaryDirectory(prefix="edgekit-probe-") as place:
        result = build(
            task=", ".join(labels),
            model=folder.path,
            target=target,
            genotype=str(genotype),
            output=Path(place) / "out",
            seed=seed,
        )
        shutil.copyfile(result.folder / "model.tflite", working / file)
    return Probe(file=file, genotype=str(genotype), macs=round(result.figure("MACs").value))

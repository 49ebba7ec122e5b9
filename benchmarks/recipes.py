"""Recipes that `edgekit compress` finds by itself: ResNet-20 for CIFAR-10, and the full signs43 supernet, at most 1.0 point lost.

    python benchmarks/recipes.py search NETWORK [--minutes M] [--found DIR] [--go-on SHARE]   # trains on a GPU where there is one
    python benchmarks/recipes.py report [--found DIR] [-o RESULT.json]

NETWORK is resnet20 or signs43. The search is that of the command: it learns from and decides by the training images alone. With
--go-on an earlier search goes on from its fastest network, with a cut to that share of its MACs. `report` takes the fastest
candidates of each search through folding, int8, export and verification, judges the files on images that no search saw, and takes
the next candidate where the floor is broken there, as the command does. ResNet-20 is judged on the last 1,000 of the 4,000
images; the published network was trained on all of them. signs43 is judged on its test images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from cifar10_resnet20 import LABELS, PREPROCESSING, images, resnet20
from harness import IMAGES, REPO_ROOT, Table, absent, bars, publish

from edgekit.core.model import Model, Preprocessing
from edgekit.core.records import write_json
from edgekit.devices.target import Target, parse_target
from edgekit.networks.description import describe
from edgekit.networks.exported import exported
from edgekit.networks.layers import run
from edgekit.networks.lifting import lifted
from edgekit.networks.program import read_program_files, write_program
from edgekit.passes.contract import Context, Samples
from edgekit.passes.picture_augmentation import picture_augmentation
from edgekit.passes.registry import make_pass
from edgekit.pipeline.compression.account import Accountant, judged
from edgekit.pipeline.compression.finish import finish
from edgekit.pipeline.compression.recipe import parse_recipe
from edgekit.pipeline.compression.search import Candidate, RecipeSearch

NETWORKS: Final = ("resnet20", "signs43")
MAX_DROP, BAR_MACS = 1.0, 3.0
JUDGING = 0.15
FOUND = REPO_ROOT / ".recipes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A network with the images it learns from, decides by, and is judged on."""

    model: Model
    training: Samples
    judging: Samples
    evaluation: Samples
    mirror: bool


def resnet20_case() -> Case:
    learnt, judged = images()
    kept = round(JUDGING * len(learnt.x_NCHW))
    return Case(
        model=modelled(resnet20(), 32, LABELS, PREPROCESSING, None),
        training=Samples(x_N=learnt.x_NCHW[kept:], y_N=learnt.y_N[kept:]),
        judging=Samples(x_N=learnt.x_NCHW[:kept], y_N=learnt.y_N[:kept]),
        evaluation=Samples(x_N=judged.x_NCHW, y_N=judged.y_N),
        mirror=True,
    )


def signs43_case() -> Case:
    from edgekit.assembler.assembler import Assembler
    from edgekit.assembler.training.data import Dataset, read_parquet, split_by_group
    from edgekit.supernet.storage import open_supernet
    from edgekit.supernet.subnet import slice_subnet
    from edgekit.tasks.task import Task

    folder = open_supernet("signs43")
    labels = folder.vocabulary.labels
    task = Task(indices=tuple(range(len(labels))), text="all")
    subnet = slice_subnet(Assembler.load(folder).supernet, folder.spec.full, task)
    size = folder.spec.image_size

    def samples(dataset: Dataset) -> Samples:
        return Samples(x_N=torch.from_numpy(dataset.x_NCHW).float() / 255, y_N=torch.from_numpy(dataset.y_N))

    data = read_parquet(IMAGES / "signs43", "train", image_size=size, labels=len(labels))
    training, judging = split_by_group(data, held_out=JUDGING, seed=0)
    test = read_parquet(IMAGES / "signs43", "test", image_size=size, labels=len(labels))
    return Case(
        model=modelled(
            subnet, size, tuple(label.name for label in labels), Preprocessing(height=size, width=size), (0.0, 1.0)
        ),
        training=samples(training),
        judging=samples(judging),
        evaluation=samples(test),
        mirror=False,
    )


CASES: Final = {"resnet20": resnet20_case, "signs43": signs43_case}


def modelled(
    network: torch.nn.Module,
    size: int,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
    output_range: tuple[float, float] | None,
) -> Model:
    shape = (3, size, size)
    module = lifted(exported(network.eval(), shape))
    return Model(
        module=module,
        input_shape=shape,
        labels=labels,
        preprocessing=preprocessing,
        operators=describe(module, shape).operators,
        output_range=output_range,
    )


def search(name: str, minutes: float, folder: Path, seed: int, go_on: float | None) -> None:
    """Writes what was tried, and the networks that kept the floor, each as a program with its weights."""
    case = CASES[name]()
    target = parse_target("rpi4")
    accountant = Accountant.for_target(target, case.model, case.judging)
    reference = run(case.model.module, case.judging.x_N)
    calibration = Samples(x_N=case.training.x_N[:256])
    assert case.model.preprocessing is not None
    found = RecipeSearch(
        case.model,
        Context(
            original=case.model,
            target=target,
            latency_ms=accountant.cost_models[target.precision].latency_ms,
            calibration=calibration,
            judging=case.judging,
            training=case.training,
            augment=picture_augmentation(case.model.preprocessing, mirror=case.mirror),
            seed=seed,
            progress=lambda line: print(f"{name}: {line}", flush=True),
        ),
        judge=lambda model: judged(model, case.judging, reference),
        max_drop=MAX_DROP,
        deadline=time.monotonic() + 60 * minutes,
    )
    before = (
        json.loads((folder / name / "search.json").read_text()) if go_on else {"found": [], "trials": [], "minutes": 0}
    )
    if go_on:
        for number, recipe in enumerate(before["found"][1:], 1):
            found.found.append(reopened(case, folder / name / str(number), recipe, accountant, reference, target))
        found.allocation = "measured" if "measured" in before["found"][-1] else "ranking"
        found.descend(step=go_on)
    else:
        found.run()
    for number, candidate in enumerate(found.found):
        place = folder / name / str(number)
        place.mkdir(parents=True, exist_ok=True)
        program = exported(candidate.model.module, candidate.model.input_shape)
        arrays = {name: tensor.numpy() for name, tensor in program.constants.items()}
        write_program(replace(program, constants=arrays), place)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    write_json(
        folder / name / "search.json",
        {
            "schema_version": 1,
            "minutes": before["minutes"] + minutes,
            "trained_on": device,
            "found": [str(candidate.recipe) for candidate in found.found],
            "trials": numbered([*before["trials"], *(trial.to_json() for trial in found.trials)]),
            "refusals": found.refusals,
        },
    )


def numbered(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the number of the trial that each goes on from, whichever search that was of."""
    recipes = [trial["recipe"] for trial in trials]
    starts = [trial["recipe"].removesuffix(trial["added"]).removesuffix(", ") for trial in trials]
    return [
        {**trial, "start": 1 + recipes.index(start) if start in recipes else 0}
        for trial, start in zip(trials, starts, strict=True)
    ]


def reopened(
    case: Case, folder: Path, recipe: str, accountant: Accountant, reference: torch.Tensor, target: Target
) -> Candidate:
    """A network that an earlier search found."""
    module = lifted(read_program_files(folder))
    model = replace(case.model, module=module, operators=describe(module, case.model.input_shape).operators)
    return Candidate(
        recipe=parse_recipe(recipe.split(", ")),
        model=model,
        judgement=judged(model, case.judging, reference),
        latency_ms=accountant.cost_models[target.precision].latency_ms(model.operators),
        macs=sum(one.macs for one in model.operators),
    )


def reported(name: str, folder: Path) -> tuple[list[object], dict[str, Any]]:
    """A row of the table, and the figures behind it, of the fastest candidate that keeps the floor on the evaluation images."""
    case = CASES[name]()
    target = parse_target("rpi4")
    accountant = Accountant.for_target(target, case.model, case.evaluation)
    first = accountant.row(case.model, "original")
    record = json.loads((folder / name / "search.json").read_text())
    rng = torch.Generator().manual_seed(0)
    calibration = Samples(x_N=case.training.x_N[torch.randperm(len(case.training), generator=rng)[:256]])
    looks = []
    for number in reversed(range(len(record["found"]))):
        module = lifted(read_program_files(folder / name / str(number)))
        model = replace(case.model, module=module, operators=describe(module, case.model.input_shape).operators)
        for pass_id in ("fold::batch_norm", "quant::int8"):
            context = Context(
                original=case.model,
                target=target,
                latency_ms=accountant.cost_models[target.precision].latency_ms,
                calibration=calibration,
                judging=case.judging,
            )
            model = make_pass(pass_id, {})(model, context).model
        with tempfile.TemporaryDirectory() as work:
            finished = finish(model, target, calibration, accountant, Path(work))
        drop = 100 * (first.judgement.value - finished.judgement.value)
        last = accountant.row(model, record["found"][number])
        looks.append({"recipe": record["found"][number], "drop_points": drop, "macs": last.macs})
        if drop <= MAX_DROP:
            break
    fewer = first.macs / last.macs
    figures = {
        "search": record,
        "looked_at": looks,
        "recipe": record["found"][number],
        "macs": [first.macs, last.macs],
        "fewer_macs": fewer,
        "size_bytes": [first.size_bytes, finished.artifact.size_bytes],
        "latency_ms": [first.latency.to_json(), last.latency.to_json()],
        "accuracy": [first.judgement.to_json(), finished.judgement.to_json()],
        "drop_points": drop,
    }
    return [
        name,
        f"{first.macs / 1e6:.2f} -> {last.macs / 1e6:.2f}",
        f"{fewer:.2f}",
        f"{first.size_bytes / 1e3:.0f} -> {finished.artifact.size_bytes / 1e3:.0f}",
        f"{first.latency.value:.3f} -> {last.latency.value:.3f}",
        f"{100 * first.judgement.value:.2f} -> {100 * finished.judgement.value:.2f}",
        f"{drop:.2f}",
    ], figures


def report(folder: Path, output: Path | None) -> None:
    rows, figures, met_or_not = [], {}, []
    for name in NETWORKS:
        if not (folder / name / "search.json").exists():
            absent(f"no search of {name} in {folder}: run `python benchmarks/recipes.py search {name}`")
        row, figures[name] = reported(name, folder)
        rows.append(row)
        fewer = figures[name]["fewer_macs"]
        met = fewer >= BAR_MACS and figures[name]["drop_points"] <= MAX_DROP
        met_or_not.append((f"{name}: MACs at most 1.0 point lost", f"{fewer:.2f} times fewer", ">= 3 times", met))
    tables = [
        Table(
            "Found by search: original in fp32 -> verified int8 file, on images that no search saw",
            ("network", "million MACs", "fewer", "kB", "ms on rpi4, predicted", "accuracy, %", "points lost"),
            rows,
        ),
        bars(*met_or_not),
    ]
    publish("recipes", tables, figures, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    searching = commands.add_parser("search")
    searching.add_argument("network", choices=NETWORKS)
    searching.add_argument("--minutes", type=float, default=30.0)
    searching.add_argument("--go-on", type=float, metavar="SHARE")
    searching.add_argument("--seed", type=int, default=0)
    reporting = commands.add_parser("report")
    reporting.add_argument("-o", "--output", type=Path)
    for command in (searching, reporting):
        command.add_argument("--found", type=Path, default=FOUND)
    options = parser.parse_args()
    if options.command == "search":
        search(options.network, options.minutes, options.found, options.seed, options.go_on)
    else:
        report(options.found, options.output)


if __name__ == "__main__":
    main()

"""FedTiny over federated clients against dense averaging and other ways to prune, and what lost or hostile clients do to it.

    python benchmarks/federated.py compare|thousand|lost|hostile|clips|secure|private|report
        [--seeds N] [--seconds S] [--cache FOLDER] [-o RESULT.json]

All methods begin with the same small ResNet, trained on what the server has (a tenth of the tracks of signs43; two drawers of
Omniglot), keep the same number of weights, and train for the same rounds with the same settings. Masks of SNIP, SynFlow and
magnitude are made on the server and stay; statistics of normalisation are the clients' for all. PruneFL prunes first on what the
server has, in as many steps as FedTiny's server does; "gradual" is the candidate of FedTiny's server alone, without vote and
exchange. Test pictures are looked at for the tables alone.

Every course is kept in the cache, so that a run that ends, also by --seconds, goes on where it stopped; `report` prints what there
is.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from baselines.prunefl import RECONFIGURED, PruneFL, prune_at_first
from baselines.pruning_scores import magnitude, snip, synflow
from federated_data import Dealt, omniglot, pretrained, signs43
from federated_faults import Deadly, KilledError, Lossy, honest, with_hostile, without_hostile
from harness import Table, bars, options_of, publish, standard_error
from signs43_resnet import SHAPE
from torch import fx
from torch.nn import functional as F  # noqa: N812

from edgekit.core.records import write_json
from edgekit.federated.client import Client, Studied
from edgekit.federated.course import Course
from edgekit.federated.layout import Layout
from edgekit.federated.privacy import Privacy, epsilon
from edgekit.federated.server_pruning import ServerPictures, pruned_by_server
from edgekit.federated.settings import Settings
from edgekit.federated.simulate import judge_of
from edgekit.federated.simulator import Simulator, one_thread
from edgekit.federated.state import State
from edgekit.passes.fedtiny_clients import generator
from edgekit.pruning.gradual import prune_gradually
from edgekit.pruning.masks import Masks, prunable
from edgekit.pruning.targets import Answers

WIDTH = 16
DENSITIES = (0.1, 0.05, 0.01)
METHODS = ("FedTiny", "gradual", "SNIP", "SynFlow", "magnitude", "PruneFL")
PUBLISHED = ("SNIP", "SynFlow", "magnitude", "PruneFL")
DATA: Mapping[str, Callable[..., Dealt]] = {
    **{
        name if clients == 20 else f"{name} {clients}": partial(signs43, name, clients, images=4000, test=2000)
        for clients in (20, 50, 10)
        for name in ("track", "dirichlet")
    },
    "omniglot, drawers": lambda seed: omniglot(alphabets=False),  # noqa: ARG005
    "omniglot": lambda seed: omniglot(alphabets=True),  # noqa: ARG005
}
SETTINGS = Settings(rounds=30, per_round=10, epochs=3, batch=32, learning_rate=0.2)
OMNIGLOT = {"rounds": 100, "per_round": 20}
"""A client has one drawing of each character of an alphabet: it takes more of them, for longer."""
DENSE_LEARNING_RATE = 0.1
"""Of 0.1 and 0.2 the better one for dense and for pruned networks, on tracks that are neither the clients' nor the test's."""


@dataclass(kw_only=True)
class Study:
    """The courses of one benchmark; `deadline` is when no other begins."""

    options: argparse.Namespace
    deadline: float = field(init=False)

    @property
    def seeds(self) -> range:
        return range(self.options.seeds)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.options.seconds

    def run(
        self,
        name: str,
        deal: Callable[..., Dealt],
        seed: int,
        settings: Settings,
        method: str = "FedTiny",
        clients: Callable[[Dealt, Studied], dict[int, Client]] | None = None,
        runs: Callable[[Course, Simulator], State] = lambda course, simulator: course.run(simulator),
    ) -> dict | None:
        """The record of a course, from the cache or run now; None where it is late."""
        path = self.options.cache / f"{name} {method} {settings.density} {seed}.json"
        if path.is_file():
            return json.loads(path.read_text())
        if time.monotonic() > self.deadline or self.options.command == "report":
            return None
        dealt = deal(seed=seed)
        module = pretrained(dealt, WIDTH, self.options.cache)
        studied = Studied(
            module=copy.deepcopy(module),
            size=SHAPE[1],
            mean_std=None,
            labels=tuple(map(str, range(dealt.labels))),
            answers=Answers.LOGITS,
        )
        simulator = Simulator(clients_by_number=(clients or honest)(dealt, studied))
        judge, began = judge_of(dealt.test), time.monotonic()
        settings = replace(settings, seed=seed, **({} if method == "FedTiny" else {"exchange": 0.0}))
        module, masks = begun(method, module, settings.density, dealt)
        whole = {
            "module": module,
            "input_shape": SHAPE,
            "network": b"",
            "labels": studied.labels,
            "preprocessing": "",
            "settings": settings,
            "masks": masks,
            "pictures": pictures_of(dealt) if method == "FedTiny" else None,
        }
        samples = {f"client {index:04}": one for index, one in enumerate(dealt.clients)}
        course = PruneFL(**whole, samples_by_name=samples) if method == "PruneFL" else Course(**whole)
        with one_thread():
            state = runs(course, simulator)
            accuracy = judge(course.module)
        record = {
            "accuracy": accuracy,
            "seconds": time.monotonic() - began,
            "down_bytes": simulator.down_bytes,
            "up_bytes": simulator.up_bytes + squares_bytes(state, module),
            "clients": len(simulator.clients_by_number),
            "left_out": sum(len(one.left_out) for one in state.records),
            "max_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "notes": state.notes,
            "releases": max(state.releases.values(), default=0),
        }
        write_json(path, record)
        print(f"{path.stem}: {accuracy:.2%}, {record['seconds']:.0f} s", file=sys.stderr, flush=True)
        return record


def pictures_of(dealt: Dealt) -> ServerPictures:
    return ServerPictures(x_NCHW=dealt.public.inputs(torch.arange(len(dealt.public)), None), y_N=dealt.public.y_N)


def squares_bytes(state: State, module: fx.GraphModule) -> int:
    """What the clients of PruneFL sent beside their updates."""
    times = state.notes.count(RECONFIGURED)
    return times * SETTINGS.per_round * 4 * sum(weight.numel() for weight in prunable(module).values())


def begun(method: str, module: fx.GraphModule, density: float, dealt: Dealt) -> tuple[fx.GraphModule, Masks | None]:
    """The network that clients get first and its masks; None where they vote, or every weight is kept."""
    if method in ("FedTiny", "dense"):
        return module, None
    if method == "magnitude":
        return module, magnitude(module, density)
    if method == "SynFlow":
        return module, synflow(module, density, SHAPE)
    generator = torch.Generator().manual_seed(0)
    if method in ("PruneFL", "gradual"):
        prune = prune_at_first if method == "PruneFL" else prune_gradually
        return pruned_by_server(module, pictures_of(dealt), density=density, generator=generator, prune=prune)
    order = torch.randperm(len(dealt.public), generator=generator)

    def loss(one, some):
        return F.cross_entropy(one(dealt.public.inputs(some, None)), dealt.public.y_N[some])

    return module, snip(module, density, [partial(loss, some=some) for some in torch.split(order[:1024], 128)])


HARMS = ("sign flip", "scaling", "noise", "label flip")
LOST, HOSTILE, KILLS = 0.3, 0.1, 10
STEPS = 4


def settings_of(density: float, *, plain: bool = False) -> Settings:
    """Robust as by default; to compare methods, the plain mean that they were published with."""
    rate = DENSE_LEARNING_RATE if density == 1.0 else SETTINGS.learning_rate
    settings = replace(SETTINGS, density=density, learning_rate=rate)
    return replace(settings, trim=0.0, norm_limit=1e9) if plain else settings


def lossy(seed: int, course: Course, simulator: Simulator) -> State:
    """The same share in a round, whose sums, where they are secure, take four messages."""
    share = 1 - (1 - LOST) ** (1 / STEPS) if course.settings.secure else LOST
    return course.run(Lossy(inner=simulator, share=share, generator=torch.Generator().manual_seed(seed)))


def killed(seed: int, course: Course, simulator: Simulator) -> State:
    """Again and again in a folder, with a new server after each kill."""
    generator = torch.Generator().manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        begin = copy.deepcopy(course.module)
        for _ in range(KILLS):
            left = int(torch.randint(1, 8, (1,), generator=generator))
            try:
                replace(course, module=copy.deepcopy(begin), folder=Path(folder)).run(
                    Deadly(inner=simulator, left=left)
                )
            except KilledError:
                continue
        state = replace(course, module=copy.deepcopy(begin), folder=Path(folder)).run(simulator)
    assert [one.number for one in state.records if one.stage == "round"] == sorted(
        {one.number for one in state.records if one.stage == "round"}
    )
    Layout.of(course.module).load(course.module, state.masks, state.vector_V)
    return state


def compare(study: Study) -> tuple[Table, list]:
    rows, bar_rows = [], []
    for data, deal in DATA.items():
        more = OMNIGLOT if data == "omniglot" else {}

        def courses(method: str, density: float, data: str = data, deal=deal, more: dict = more) -> Mean | None:
            settings = replace(settings_of(density, plain=True), **more)
            return _mean([study.run(data, deal, seed, settings, method) for seed in study.seeds])

        dense = courses("dense", 1.0)
        if dense:
            rows.append((data, 1.0, "dense", *_cells(dense)))
        for density in DENSITIES:
            found = {method: courses(method, density) for method in METHODS}
            rows += [(data, density, method, *_cells(one)) for method, one in found.items() if one]
            ours, others = found["FedTiny"], {name: one for name, one in found.items() if one and name in PUBLISHED}
            if density == 0.01 and ours and others:
                best = max(others, key=lambda name: others[name].accuracy)
                lead = 100 * (ours.accuracy - others[best].accuracy)
                bar_rows.append((f"{data} at 0.01, ahead of {best}", f"{lead:+.2f} points", "> 0", lead > 0))
            if density == 0.05 and ours and dense:
                lost = 100 * (dense.accuracy - ours.accuracy)
                bar_rows.append((f"{data} at 0.05, behind dense", f"{lost:.2f} points", "<= 2", lost <= 2))
                less = 1 - ours.traffic / dense.traffic
                bar_rows.append((f"{data} at 0.05, traffic less than dense", f"{less:.1%}", ">= 90 %", less >= 0.9))
    columns = ("data", "density", "method", "accuracy", "+-", "MB of traffic", "courses", "seconds")
    return Table(
        "Accuracy on test pictures after 30 rounds of 10 clients (omniglot: 100 of 20)", columns, rows
    ), bar_rows


def lost(study: Study) -> tuple[Table, list]:
    settings, deal = settings_of(0.05), DATA["track"]
    kinds = {
        "undisturbed": partial(study.run, "track, robust"),
        f"{LOST:.0%} lost at every message": lambda *given: study.run(
            "track, lost", *given, runs=partial(lossy, given[1])
        ),
        f"server killed {KILLS} times": lambda *given: study.run(
            "track, killed", *given, runs=partial(killed, given[1])
        ),
    }
    found = {name: _mean([run(deal, seed, settings) for seed in study.seeds]) for name, run in kinds.items()}
    return _disturbed("Lost clients, killed servers", found, limit=1.0)


def hostile(study: Study) -> tuple[Table, list]:
    settings, deal = settings_of(0.05), DATA["track"]
    found = {"undisturbed": _mean([study.run("track, robust", deal, seed, settings) for seed in study.seeds])}
    for harm in HARMS:
        found[f"{HOSTILE:.0%} {harm}"] = _mean(
            [
                study.run(f"track, {harm}", deal, s, settings, clients=partial(with_hostile, harm, HOSTILE, s))
                for s in study.seeds
            ]
        )
    found["the others alone"] = _mean(
        [
            study.run("track, others", deal, s, settings, clients=partial(without_hostile, HOSTILE, s))
            for s in study.seeds
        ]
    )
    plain = replace(settings, trim=0.0, norm_limit=1e9)
    for harm in HARMS:
        found[f"{HOSTILE:.0%} {harm}, plain mean"] = _mean(
            [
                study.run(f"track, {harm}, plain", deal, s, plain, clients=partial(with_hostile, harm, HOSTILE, s))
                for s in study.seeds
            ]
        )
    return _disturbed("Hostile clients", found, limit=2.0)


CLIPS = (0.3, 1.0, 3.0, 10.0)
CLIP = 10.0
"""The best of them on tracks that are neither the clients' nor the test's."""
SECURE = replace(settings_of(0.05), secure=True, clip=CLIP)
WAYS: Mapping[str, Settings] = {
    "robust, 10 a round (the default)": settings_of(0.05),
    "secure, 10 in 3 groups": SECURE,
    "secure, 15 in 3 groups": replace(SECURE, per_round=15),
    "secure, 20 in 6 groups, trim 0.4": replace(SECURE, per_round=20, groups=6, trim=0.4),
}
NOISED_CLIP = 1.0
MULTIPLIERS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


def secure(study: Study) -> tuple[Table, list]:
    """Each way without hostile clients and with; what was kept is known by the settings, the default by the names of `hostile`."""
    deal, rows = DATA["track"], []
    for way, settings in WAYS.items():
        is_default = settings == settings_of(0.05)
        name = "track" if is_default else f"track, {way}, clip {settings.clip:g}"
        undisturbed = "track, robust" if is_default else name
        found = [_mean([study.run(undisturbed, deal, seed, settings) for seed in study.seeds])]
        found += [
            _mean(
                [
                    study.run(f"{name}, {harm}", deal, s, settings, clients=partial(with_hostile, harm, HOSTILE, s))
                    for s in study.seeds
                ]
            )
            for harm in HARMS
        ]
        found.append(
            _mean([study.run(f"{name}, lost", deal, s, settings, runs=partial(lossy, s)) for s in study.seeds])
        )
        if found[0]:
            cells = (f"{one.accuracy:.2%}" if one else "-" for one in found)
            rows.append((way, *cells, f"{found[0].traffic / 1e6:.1f}", found[0].courses))
    disturbed = (*(f"{HOSTILE:.0%} {harm}" for harm in HARMS), f"{LOST:.0%} lost")
    columns = ("", "undisturbed", *disturbed, "MB of traffic", "courses")
    return Table(f"Secure sums at density 0.05, clip {CLIP:g}: accuracy", columns, rows), []


def clips(study: Study) -> tuple[Table, list]:
    """Judged on tracks that are neither the clients' nor the test's."""
    deal, rows = partial(signs43, "track", 20, images=4000, test=2000, tuned=True), []
    for clip in (0.0, *CLIPS):
        settings = replace(SECURE, clip=clip) if clip else settings_of(0.05)
        one = _mean([study.run(f"tuning, clip {clip:g}", deal, s, settings) for s in study.seeds])
        if one:
            rows.append((f"secure, clip {clip:g}" if clip else "robust", f"{one.accuracy:.2%}", one.courses))
    return Table("Clips, on tracks that are neither the clients' nor the test's", ("", "accuracy", "courses"), rows), []


def before_any_round(study: Study, deal: Callable[..., Dealt], seed: int, density: float) -> float:
    """The accuracy of what the server pruned alone, with which noised courses begin."""
    dealt = deal(seed=seed)
    module = pretrained(dealt, WIDTH, study.options.cache)
    pruned, _ = pruned_by_server(module, pictures_of(dealt), density=density, generator=generator(seed, "server"))
    return judge_of(dealt.test)(pruned)


def private(study: Study) -> tuple[Table, list]:
    """The whole cohort is one sum, so that as many as can share the noise."""
    deal, rows = DATA["track"], []
    for density in (0.05, 0.01):
        before = len(rows)
        for multiplier in MULTIPLIERS:
            settings = replace(SECURE, density=density, groups=1, clip=NOISED_CLIP, noise_multiplier=multiplier)
            records = [
                study.run(f"track, noise {multiplier:g}, clip {NOISED_CLIP:g}", deal, s, settings) for s in study.seeds
            ]
            one, released = _mean(records), max((record["releases"] for record in records if record), default=0)
            if one:
                privacy = Privacy(clip=NOISED_CLIP, noise_multiplier=multiplier, delta=settings.delta)
                spent = f"{epsilon(privacy, released):,.0f}" if multiplier else "none"
                rows.append((density, f"{multiplier:g}", f"{one.accuracy:.2%}", released, spent, one.courses))
        if len(rows) > before:
            begin = fmean(before_any_round(study, deal, seed, density) for seed in study.seeds)
            rows.insert(before, (density, "before any round", f"{begin:.2%}", 0, "0", len(study.seeds)))
    columns = ("density", "noise multiplier", "accuracy", "releases", "epsilon", "courses")
    return Table(f"Noise in secure sums of 10 clients, clip {NOISED_CLIP:g}, delta {SECURE.delta:g}", columns, rows), []


def thousand(study: Study) -> tuple[Table, list]:
    deal = partial(signs43, "track", 1000, images=10**6, test=2000)
    record = study.run("thousand", deal, 0, settings_of(0.05))
    if not record:
        return Table("A thousand clients", (), ()), []
    gigabytes, minutes = record["max_rss_bytes"] / 1e9, record["seconds"] / 60
    row = (record["clients"], f"{record['accuracy']:.2%}", f"{gigabytes:.2f}", f"{minutes:.1f}")
    table = Table("A thousand clients by track, 10 a round, 30 rounds", ("clients", "accuracy", "GB", "minutes"), [row])
    return table, [
        ("memory of the process", f"{gigabytes:.2f} GB", "<= 4 GB", gigabytes <= 4),
        ("time", f"{minutes:.1f} minutes", "<= 30", minutes <= 30),
    ]


@dataclass(frozen=True, kw_only=True)
class Mean:
    accuracy: float
    error: float
    traffic: float
    courses: int
    seconds: float


def _mean(records: Sequence[dict | None]) -> Mean | None:
    found = [one for one in records if one]
    if not found:
        return None
    return Mean(
        accuracy=fmean(one["accuracy"] for one in found),
        error=standard_error([one["accuracy"] for one in found]),
        traffic=fmean(one["down_bytes"] + one["up_bytes"] for one in found),
        courses=len(found),
        seconds=fmean(one["seconds"] for one in found),
    )


def _cells(one: Mean) -> tuple[str, ...]:
    return (
        f"{one.accuracy:.2%}",
        f"{100 * one.error:.2f}",
        f"{one.traffic / 1e6:.1f}",
        str(one.courses),
        f"{one.seconds:.0f}",
    )


def _disturbed(title: str, found: Mapping[str, Mean | None], *, limit: float) -> tuple[Table, list]:
    base, rows, bar_rows = found["undisturbed"], [], []
    for name, one in found.items():
        if not one or not base:
            continue
        behind = 100 * (base.accuracy - one.accuracy)
        rows.append((name, *_cells(one)))
        if one is not base and "plain" not in name and "alone" not in name:
            bar_rows.append((name, f"{behind:+.2f} points behind", f"<= {limit:g}", behind <= limit))
    return Table(title, ("", "accuracy", "+-", "MB of traffic", "courses", "seconds"), rows), bar_rows


COMMANDS = {
    "compare": compare,
    "thousand": thousand,
    "lost": lost,
    "hostile": hostile,
    "clips": clips,
    "secure": secure,
    "private": private,
}


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("command", choices=[*COMMANDS, "report"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no other course begins")
    parser.add_argument("--cache", type=Path, default=Path("benchmarks/results/federated"))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    study = Study(options=options)
    parts = [run(study) for name, run in COMMANDS.items() if options.command in (name, "report")]
    tables = [table for table, _ in parts if table.rows]
    rows = [row for _, some in parts for row in some]
    figures = {table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in tables}
    publish("federated", [*tables, bars(*rows)], figures, options.output, write=options.command == "report")


if __name__ == "__main__":
    main()

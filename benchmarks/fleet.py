"""A fleet of 24 builds (4 tasks x 3 budgets x 2 targets) on two cores against 24 single builds from the shell.

    python benchmarks/fleet.py [--rounds N] [--model MODEL] [-o RESULT.json]

A round is twelve single builds, the fleet into an empty folder with an empty cache, the other twelve, and the fleet once more, from
the cache: what else the machine does hits both. Wall seconds are what a user waits; CPU seconds of all processes tell what does not
depend on the machine's load. The model files of both are compared by their SHA-256.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import Table, absent, bars, open_model, options_of, publish

from edgekit.core.records import sha256_of

CORES = 2
MIN_RATIO, MAX_CACHED_S = 3.0, 5.0
TASKS = {
    "signs": ("stop, yield, no entry", ()),
    "danger": ("kind=danger", ()),
    "limits": ('kind="speed limit"', ()),
    "red-triangle": ("shape=triangle & colour=red", ("--presence",)),
}
TARGETS = ("rpi4", "rpi3")
BUDGETS = {"quarter": {"macs": "25%"}, "small": {"size_bytes": 150_000}, "all": {}}


@dataclass(frozen=True, slots=True)
class Seconds:
    wall: float
    cpu: float
    peak_mb: float
    """Of the largest process so far."""


def timed(command: Sequence[str | Path], environment: dict[str, str]) -> Seconds:
    """Of the command and all that it starts; ends the program where it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        absent(f"{' '.join(map(str, command[:6]))} ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    return Seconds(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024)


def fleet_toml(model: Path) -> str:
    tasks = [
        f"{name} = {{ task = '{text}'{', presence = true' if flags else ''} }}" for name, (text, flags) in TASKS.items()
    ]
    budgets = [
        f"{name} = {{ {', '.join(f'{key} = {value!r}' for key, value in limits.items())} }}"
        for name, limits in BUDGETS.items()
    ]
    head = [f"model = '{model}'", f"targets = {list(TARGETS)}"]
    return "\n".join([*head, "[tasks]", *tasks, "[budgets]", *budgets]) + "\n"


def singles(edgekit: Path, model: Path, folder: Path) -> dict[str, list[str | Path]]:
    """The command of each member, by its name."""
    return {
        f"{task}-{target}-{budget}": [
            *(edgekit, "build", "--model", model, "--task", text, *flags, "--target", target),
            *(word for key, value in limits.items() for word in (f"--{key.replace('_', '-')}", str(value))),
            *("-o", folder / f"{task}-{target}-{budget}"),
        ]
        for task, (text, flags) in TASKS.items()
        for target in TARGETS
        for budget, limits in BUDGETS.items()
    }


def summed(several: Sequence[Seconds]) -> Seconds:
    return Seconds(
        sum(one.wall for one in several), sum(one.cpu for one in several), max(one.peak_mb for one in several)
    )


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    model = open_model(options).path.resolve()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    edgekit = Path(sys.executable).with_name("edgekit")
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="edgekit-benchmark-") as name:
            scratch = Path(name)
            environment = os.environ | {"XDG_CACHE_HOME": str(scratch / "cache")}
            (scratch / "fleet.toml").write_text(fleet_toml(model))
            commands = singles(edgekit, model, scratch / "singles")
            names, load = list(commands), [os.getloadavg()[0]]
            alone = [timed(commands[member], environment) for member in names[::2]]
            load.append(os.getloadavg()[0])
            fleet = timed([edgekit, "fleet", scratch / "fleet.toml", "-o", scratch / "fleet"], environment)
            load.append(os.getloadavg()[0])
            alone += [timed(commands[member], environment) for member in names[1::2]]
            cached = timed([edgekit, "fleet", scratch / "fleet.toml", "-o", scratch / "again"], environment)
            same = [
                sha256_of(scratch / "singles" / member / "model.tflite")
                == sha256_of(scratch / "fleet" / member / "model.tflite")
                == sha256_of(scratch / "again" / member / "model.tflite")
                for member in names
            ]
            rounds.append((summed(alone), fleet, cached, sum(same), load))

    rows = [
        (
            str(number),
            f"{alone.wall:.1f} ({alone.cpu:.1f})",
            f"{fleet.wall:.1f} ({fleet.cpu:.1f})",
            f"{alone.wall / fleet.wall:.2f} ({alone.cpu / fleet.cpu:.2f})",
            f"{cached.wall:.2f} ({cached.cpu:.2f})",
            f"{same} of {len(commands)}",
            f"{fleet.peak_mb:.0f}",
            ", ".join(f"{one:.1f}" for one in load),
        )
        for number, (alone, fleet, cached, same, load) in enumerate(rounds, start=1)
    ]
    ratio = min(alone.wall / fleet.wall for alone, fleet, *_ in rounds)
    cached_s = max(cached.wall for _, _, cached, *_ in rounds)
    least_same = min(same for *_, same, _ in rounds)
    title = f"{len(commands)} builds on {CORES} cores, seconds (of CPU)"
    columns = (
        "round",
        "singly",
        "fleet",
        "times faster",
        "from the cache",
        "same files",
        "peak MB of a process",
        "load before, between",
    )
    kept = bars(
        ("fleet against single builds", f"{ratio:.2f} times", f"at least {MIN_RATIO:g}", ratio >= MIN_RATIO),
        ("same model files", f"{least_same}", f"all {len(commands)}", least_same == len(commands)),
        ("second run, from the cache", f"{cached_s:.2f} s", f"under {MAX_CACHED_S:g} s", cached_s < MAX_CACHED_S),
    )
    figures = {
        "builds": len(commands),
        "cores": CORES,
        "min_ratio": MIN_RATIO,
        "max_cached_s": MAX_CACHED_S,
        "met": ratio >= MIN_RATIO and cached_s < MAX_CACHED_S and least_same == len(commands),
        "rounds": [
            {
                "singly": {"wall_s": alone.wall, "cpu_s": alone.cpu},
                "fleet": {"wall_s": fleet.wall, "cpu_s": fleet.cpu},
                "cached": {"wall_s": cached.wall, "cpu_s": cached.cpu},
                "ratio": alone.wall / fleet.wall,
                "cpu_ratio": alone.cpu / fleet.cpu,
                "peak_mb": fleet.peak_mb,
                "same_files": same,
                "load": load,
            }
            for alone, fleet, cached, same, load in rounds
        ],
    }
    publish("fleet", [Table(title, columns, rows), kept], figures, options.output, model=open_model(options))


if __name__ == "__main__":
    main()

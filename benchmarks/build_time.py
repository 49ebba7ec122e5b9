"""Wall time of `edgekit build` from the shell, by stage, and the share of it that is our own code.

    python benchmarks/build_time.py [--runs N] [--model MODEL] [-o RESULT.json]

Each run is a fresh process; files may be in the system's cache. Stages are those of the build's report; "start, end" is
what the wall clock shows beside them: the interpreter's start and end, imports of the command line, and the report.
The libraries' part is timed in further fresh processes (timed_build.py), in the same stages; the start and the end of
the interpreter, which unloads them, count as theirs, and everything else as ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from harness import Table, absent, bars, open_model, options_of, publish
from timed_build import LATENCY_MS, TASK

BAR_S, BAR_OWN_SHARE = 30.0, 1 / 3
REST = "start, end"


def seconds_of(command: Sequence[str]) -> tuple[float, str]:
    """Wall seconds and stdout; ends the program where the command fails."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode:
        absent(f"{' '.join(command[:2])} ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    return elapsed, done.stdout


def built(model: Path, folder: Path) -> dict[str, float]:
    """Seconds by stage of one build from the shell; `total` is the wall clock's."""
    command = [str(Path(sys.executable).with_name("edgekit")), "build", "--target", "rpi4", "--task", TASK]
    command += ["--latency-ms", str(LATENCY_MS), "--model", str(model), "-o", str(folder)]
    total, _ = seconds_of(command)
    stages: dict[str, float] = json.loads((folder / "report.json").read_bytes())["stages_s"]
    return {**stages, REST: total - sum(stages.values()), "total": total}


def timed(model: Path, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by stage of one build: of libraries, and of our own code."""
    program = str(Path(__file__).with_name("timed_build.py"))
    wall_s, printed = seconds_of([sys.executable, program, str(model), str(folder)])
    record = json.loads(printed)
    total: dict[str, float] = record["total"]
    libraries: dict[str, float] = record["libraries"]
    own = {stage: seconds - libraries.get(stage, 0.0) for stage, seconds in total.items()}
    libraries["end"] = wall_s - sum(total.values())
    return with_rest(libraries), with_rest(own)


def with_rest(seconds: dict[str, float]) -> dict[str, float]:
    outside = ("start", "report", "end")
    stages = {stage: taken for stage, taken in seconds.items() if stage not in outside}
    return {**stages, REST: sum(seconds.get(stage, 0.0) for stage in outside)}


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {stage: median(run[stage] for run in runs) for stage in runs[0]}


def by_stage(seconds: Mapping[str, float], stage: str) -> str:
    return f"{sum(seconds.values()) if stage == 'total' else seconds.get(stage, 0):.2f}"


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    model = open_model(options)
    with tempfile.TemporaryDirectory(prefix="edgekit-benchmark-") as name:
        folder = Path(name)
        builds = [built(model.path, folder / f"build{run}") for run in range(options.runs)]
        parts = [timed(model.path, folder / f"timed{run}") for run in range(options.runs)]
    stages = medians(builds)
    libraries, own = (medians(part) for part in zip(*parts, strict=True))
    total = stages["total"]
    own_share = sum(own.values()) / (sum(own.values()) + sum(libraries.values()))

    rows = [
        (stage, f"{seconds:.2f}", by_stage(libraries, stage), by_stage(own, stage)) for stage, seconds in stages.items()
    ]
    title = f'edgekit build --task "{TASK}" --latency-ms {LATENCY_MS:g}, seconds, median of {options.runs}'
    kept = bars(
        ("from shell to verified int8 file", f"{total:.1f} s", f"at most {BAR_S:g} s", total <= BAR_S),
        ("share of our own code", f"{own_share:.0%}", f"at most {BAR_OWN_SHARE:.0%}", own_share <= BAR_OWN_SHARE),
    )
    figures = {
        "runs": options.runs,
        "bar_s": BAR_S,
        "bar_own_share": BAR_OWN_SHARE,
        "met": total <= BAR_S and own_share <= BAR_OWN_SHARE,
        "total_s": total,
        "own_share": own_share,
        "stages_s": stages,
        "libraries_s": libraries,
        "own_s": own,
        "totals_s": [run["total"] for run in builds],
    }
    table = Table(title, ("stage", "build", "libraries", "ours"), rows)
    publish("build_time", [table, kept], figures, options.output, model=model)


if __name__ == "__main__":
    main()

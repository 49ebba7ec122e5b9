"""Boards that fail: what a calibration loses, how it ends, and what it leaves behind.

    python benchmarks/faults.py [--moments 50] [--seed 0] [-o RESULT.json]

`edgekit devices calibrate mine --board pi --budget 10` on this machine behind a real sshd and a cable. The cable is cut at
random moments of a calibration and stays cut; then it is mended and the same command is given again. A moment that the
calibration had ended before is drawn anew. The other faults meet a
calibration that is half done. After each: are all rows that were measured still there, as they were; is the exit code the
documented one; does the repaired board finish; is any process left. A refusal for unsteady times (exit code 7: other programs
run here too) is answered by giving the command again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from harness import Table, bars, publish
from real_sshd import Cable, Sshd, missing, running_sshd

from edgekit.core.records import sha256_of

COMMAND = [sys.executable, "-m", "edgekit.cli.main", "devices", "calibrate", "mine", "--board", "pi", "--budget", "10"]
MOST_S, TRIES = 600.0, 6
BOARD, UNSTABLE = 6, 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """`rows` were measured when the fault came; `lost` of them are gone or measured anew. `code` is the first command's,
    `ended` the repaired one's."""

    fault: str
    moment_s: float
    rows: int
    lost: int
    code: int
    expected: int
    seconds: float
    ended: int
    processes_left: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One user's folders, and the calibration in them."""

    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "config" / "edgekit" / "devices" / ".mine.calibrating"

    @property
    def device(self) -> Path:
        return self.folder / "config" / "edgekit" / "devices" / "mine"

    def describe(self, table: Mapping[str, object]) -> None:
        path = self.folder / "config" / "edgekit" / "boards.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps({"boards": {"pi": table}}))

    def start(self) -> subprocess.Popen[str]:
        folders = {f"XDG_{name}_HOME": str(self.folder / name.lower()) for name in ("CONFIG", "STATE", "CACHE")}
        return subprocess.Popen(
            COMMAND,
            env=os.environ | folders,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self) -> tuple[int, str]:
        """Again while times are not steady."""
        for _ in range(TRIES):
            process = self.start()
            _, told = process.communicate(timeout=MOST_S)
            if process.returncode != UNSTABLE:
                break
        return process.returncode, told

    def rows(self) -> dict[str, str]:
        """File and latency, as they were written."""
        table = self.work / "measurements.csv"
        if table.exists():
            return {row["file"]: row["p50_ms"] for row in csv.DictReader(table.open(newline=""))}
        kept = self.device / "measured_tflite.csv"
        return {row["network"]: row["p50_ms"] for row in csv.DictReader(kept.open(newline=""))} if kept.exists() else {}


def commands_of(folder: Path) -> list[str]:
    """Of processes that know a folder, here or behind the sshd."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and "sshd" not in command:
            found.append(command)
    return found


def lost(before: Mapping[str, str], after: Mapping[str, str]) -> int:
    return sum(after.get(file) != latency for file, latency in before.items())


def cut(place: Place, server: Sshd, probes: Path, moment_s: float) -> Outcome:
    shutil.copytree(probes, place.work)
    cable = Cable(server.port)
    known = place.folder / "known_hosts"
    known.write_text(Path(server.known_hosts_file).read_text().replace(f":{server.port} ", f":{cable.port} "))
    place.describe(table_of(server, place) | {"port": cable.port, "known_hosts_file": str(known)})
    started = time.monotonic()
    process = place.start()
    seen: dict[str, str] = {}

    def pull() -> None:
        seen.update(place.rows())
        cable.cut()

    timer = threading.Timer(moment_s, pull)
    timer.start()
    process.communicate(timeout=MOST_S)
    timer.cancel()
    timer.join()
    seconds = time.monotonic() - started
    left = len(commands_of(place.folder))
    kept = place.rows()
    cable.mend()
    ended, _ = (0, "") if process.returncode == 0 else place.run()
    gone = lost(seen, kept) + lost(kept, place.rows())
    cable.close()
    return Outcome(
        fault="cable cut",
        moment_s=moment_s,
        rows=len(kept),
        lost=gone,
        code=process.returncode,
        expected=BOARD,
        seconds=seconds,
        ended=ended,
        processes_left=left,
    )


def fault(place: Place, server: Sshd, half: Path, name: str, expected: int, table: Mapping[str, object]) -> Outcome:
    shutil.copytree(half, place.work)
    before = place.rows()
    place.describe(table_of(server, place) | table)
    started = time.monotonic()
    process = place.start()
    process.communicate(timeout=MOST_S)
    seconds = time.monotonic() - started
    left = len(commands_of(place.folder.parent))
    shutil.rmtree(place.folder / "workspace", ignore_errors=True)
    place.describe(table_of(server, place))
    ended, _ = place.run()
    return Outcome(
        fault=name,
        moment_s=0.0,
        rows=len(before),
        lost=lost(before, place.rows()),
        code=process.returncode,
        expected=expected,
        seconds=seconds,
        ended=ended,
        processes_left=left,
    )


def table_of(server: Sshd, place: Place) -> dict[str, Any]:
    return server.table(workspace=str(place.folder / "workspace"), python=[sys.executable])


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def prepared(root: Path, server: Sshd) -> tuple[Path, Path, float]:
    """The probes, a calibration with half of them measured, and the seconds that measuring them all takes."""
    place = Place(folder=root / "first")
    place.describe(table_of(server, place))
    process = place.start()
    while process.poll() is None and len(place.rows()) < 10:
        time.sleep(0.02)
    half, probes = root / "half", root / "probes"
    process.terminate()
    process.communicate()
    if not place.rows():
        raise SystemExit("nothing was measured: is this machine too busy?")
    shutil.copytree(place.work, half)
    shutil.copytree(half, probes, ignore=shutil.ignore_patterns("measurements.csv"))
    whole = Place(folder=root / "whole")
    shutil.copytree(probes, whole.work)
    whole.describe(table_of(server, whole))
    started = time.monotonic()
    code, told = whole.run()
    if code:
        raise SystemExit(f"the undisturbed calibration ended with exit code {code}: {told[-300:]}")
    return probes, half, time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/faults.json")
    options = parser.parse_args()
    if absent := missing():
        raise SystemExit(absent)
    rng = np.random.default_rng(options.seed)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="edgekit-faults-") as name, running_sshd(Path(name) / "sshd") as server:
        root = Path(name)
        probes, half, whole_s = prepared(root, server)
        number = 0
        while len(outcomes) < options.moments:
            number += 1
            outcome = cut(Place(folder=root / f"moment-{number}"), server, probes, float(rng.uniform(0, whole_s)))
            if outcome.code == 0:
                whole_s = min(whole_s, outcome.moment_s)
                continue
            outcomes.append(outcome)
            print(json.dumps(asdict(outcome)), file=sys.stderr, flush=True)
        outcomes += others(root, server, half)
    rows = [
        (
            one.fault,
            str(one.rows),
            str(one.lost),
            f"{one.code} ({one.expected} expected)",
            f"{one.seconds:.0f}",
            str(one.ended),
            str(one.processes_left),
        )
        for one in outcomes
    ]
    cuts = [one for one in outcomes if one.fault == "cable cut"]
    codes = Counter(one.code for one in cuts)
    # Times may have been refused before the cable was cut.
    wrong = [one for one in outcomes if one.code not in ((one.expected, UNSTABLE) if one in cuts else (one.expected,))]
    tables = [
        Table(
            f"{len(cuts)} random moments of a calibration of {whole_s:.0f} s, and other faults",
            ("fault", "rows measured", "lost", "exit code", "seconds", "repaired: exit code", "processes left"),
            rows,
        ),
        Table(
            "Exit codes when the cable was cut",
            ("exit code", "times"),
            [(str(code), str(n)) for code, n in sorted(codes.items())],
        ),
        bars(
            ("rows lost", str(sum(one.lost for one in outcomes)), "0", not any(one.lost for one in outcomes)),
            ("exit codes that are not documented for it", str(len(wrong)), "0", not wrong),
            (
                "repaired and not finished",
                str(sum(one.ended != 0 for one in outcomes)),
                "0",
                not any(one.ended for one in outcomes),
            ),
            (
                "processes left",
                str(sum(one.processes_left for one in outcomes)),
                "0",
                not any(one.processes_left for one in outcomes),
            ),
        ),
    ]
    publish("faults", tables, {"whole_s": whole_s, "outcomes": [asdict(one) for one in outcomes]}, options.output)
    return 0


def others(root: Path, server: Sshd, half: Path) -> list[Outcome]:
    hang = script(root / "bin" / "hang", f"exec {sys.executable} -c 'import time; time.sleep(3600)' {root}")
    firmware = Path(script(root / "throttled" / "vcgencmd", "echo throttled=0x50005")).parent
    stranger = root / "stranger_hosts"
    public = Path(server.identity_file + ".pub").read_text()
    stranger.write_text(f"[127.0.0.1]:{server.port} {public}")
    tables: dict[str, tuple[int, dict[str, object]]] = {
        "hanging command": (BOARD, {"python": [hang]}),
        "wrong host key": (BOARD, {"known_hosts_file": str(stranger)}),
        "throttled board": (UNSTABLE, {"env": {"PATH": f"{firmware}:/usr/bin:/bin"}}),
        "full disk": (BOARD, {}),
    }
    found = []
    for name, (expected, table) in tables.items():
        place = Place(folder=root / name.replace(" ", "-"))
        if name == "full disk":
            fill(place, half)
        found.append(fault(place, server, half, name, expected, table))
        print(json.dumps(asdict(found[-1])), file=sys.stderr, flush=True)
    return found


def fill(place: Place, half: Path) -> None:
    """Every file that would be written goes to /dev/full, which refuses each byte as a full disk does."""
    workspace = place.folder / "workspace"
    workspace.mkdir(parents=True)
    for path in half.rglob("*.tflite"):
        (workspace / f"{sha256_of(path)[:16]}.tflite.part").symlink_to("/dev/full")


if __name__ == "__main__":
    sys.exit(main())

"""Builds members of a fleet in worker processes on this machine."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

import edgekit
from edgekit.core.errors import ExitCode
from edgekit.pipeline.fleet.crew import Ended, Job, Tell
from edgekit.pipeline.fleet.member import Failure, job_of
from edgekit.pipeline.fleet.worker import GRACE_S

# Not `-m`: a file in the current folder must not take the place of a module.
_PROGRAM: Final = "import sys; sys.path.append(sys.argv[1]); from edgekit.pipeline.fleet.worker import main; main()"
_COMMAND: Final = (sys.executable, "-P", "-c", _PROGRAM, str(Path(edgekit.__file__).parents[1]))

Heard = queue.SimpleQueue["tuple[_Worker, str | None]"]
"""Lines that workers said, in the order of their arrival; None for one that will say no more."""


@dataclass(kw_only=True, slots=True)
class _Worker:
    """A process with its pipes, and the job that it is or was at, since when."""

    process: subprocess.Popen[str]
    stdin: IO[str]
    stdout: IO[str]
    stderr: IO[str]
    job: Job
    started_s: float = 0.0
    is_busy: bool = False
    built: set[tuple[str, str]] = field(default_factory=set)

    def give(self, job: Job) -> None:
        self.built.add(_network(job))
        self.job, self.started_s, self.is_busy = job, time.monotonic(), True
        with suppress(BrokenPipeError):  # it is dead, which the end of its stdout tells
            self.stdin.write(json.dumps(job_of(job.member, job.place)) + "\n")
            self.stdin.flush()

    def ended(self, failure: Failure | None) -> Ended:
        self.is_busy = False
        return Ended(job=self.job, seconds=time.monotonic() - self.started_s, failure=failure)

    def dismiss(self) -> None:
        """It ends what it is at, and itself."""
        with suppress(BrokenPipeError):
            self.stdin.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """`workers` processes, each with its share of the cores. One that dies takes its job with it; another takes its place."""

    workers: int

    def describe(self) -> str:
        return f"{self.workers} worker{'s' if self.workers > 1 else ''} on this machine"

    def run(self, jobs: Sequence[Job], tell: Tell) -> Generator[Ended]:
        # A target at a time: what a worker has converted for one is there for the others.
        targets = list(dict.fromkeys(job.member.target for job in jobs))
        waiting = sorted(jobs, key=lambda job: targets.index(job.member.target))
        workers, heard = list[_Worker](), Heard()
        with tempfile.TemporaryDirectory(prefix="edgekit-fleet-") as scratch:
            try:
                while waiting or workers:
                    while waiting and len(workers) < self.workers:
                        workers.append(self._start(waiting.pop(0), Path(scratch), heard))
                        tell(workers[-1].job.member.name, "start")
                    worker, line = heard.get()
                    if line is None:
                        workers.remove(worker)
                        if (failure := _last_words(worker)) is not None:
                            yield worker.ended(failure)
                    elif "stage" in (said := json.loads(line)):
                        tell(worker.job.member.name, said["stage"])
                    else:
                        ended = worker.ended(None if said["failure"] is None else Failure(**said["failure"]))
                        if waiting:
                            worker.give(waiting.pop(_best(worker, waiting)))  # while the answer is looked at
                        else:
                            worker.dismiss()
                        yield ended
            finally:
                _end(workers)

    def _start(self, job: Job, scratch: Path, heard: Heard) -> _Worker:
        threads = max(1, cores() // self.workers)
        stderr = tempfile.TemporaryFile("w+", dir=scratch, encoding="utf-8", errors="replace")  # noqa: SIM115 (the worker's)
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and program, no shell)
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={"OMP_NUM_THREADS": str(threads)} | os.environ | {"TMPDIR": str(scratch)},
            process_group=0,  # Ctrl-C is for the fleet, which ends its workers
        )
        pipes = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        worker = _Worker(process=process, stdin=pipes[0], stdout=pipes[1], stderr=stderr, job=job)
        threading.Thread(target=_listen, args=(worker, heard), daemon=True).start()
        worker.give(job)
        return worker


def _best(worker: _Worker, waiting: Sequence[Job]) -> int:
    """The place of the next job: one that this worker has built for another target, else the first."""
    return next((place for place, job in enumerate(waiting) if _network(job) in worker.built), 0)


def _network(job: Job) -> tuple[str, str]:
    """What may make the same network for several targets."""
    return job.member.task_name, job.member.budget_name


def _listen(worker: _Worker, heard: Heard) -> None:
    with suppress(ValueError):  # a line that was never ended
        for line in worker.stdout:
            if line.endswith("\n"):
                heard.put((worker, line))
    heard.put((worker, None))


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _last_words(worker: _Worker) -> Failure | None:
    """Why a worker that is gone did not end its job; None where it had."""
    code = worker.process.wait()
    _kill_group(worker.process)
    worker.stderr.seek(0)
    said = worker.stderr.read().strip()
    worker.stderr.close()
    if not worker.is_busy:
        return None
    _remove_halves(worker.job.place)
    if code < 0:
        name = signal.Signals(-code).name
        why = ": the system does so where memory runs out" if code == -signal.SIGKILL else ""
        hint = "run the fleet again with fewer --workers: what is finished stays"
        return Failure(code=128 - code, message=f"its worker was killed by {name}{why}", hint=hint)
    message = f"its worker ended with code {code}: {said.splitlines()[-1] if said else 'it said nothing'}"
    return Failure(code=int(ExitCode.UNEXPECTED), message=message, trace=said)


def _end(workers: Sequence[_Worker]) -> None:
    """They get time to clean up, all the same time, and then none."""
    for worker in workers:
        worker.dismiss()
    late_s = time.monotonic() + GRACE_S
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=max(0.0, late_s - time.monotonic()))
        _kill_group(worker.process)
        worker.process.wait()
        worker.stderr.close()
        _remove_halves(worker.job.place)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """The worker and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _remove_halves(place: Path) -> None:
    """What a killed process leaves of `edgekit.core.records.whole_folder`."""
    for path in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(path, ignore_errors=True)

"""The way of a fleet: members, what is finished, what is in the cache, and the rest to a crew."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.core.errors import UsageError
from edgekit.core.records import write_bytes, write_json, writing_to
from edgekit.pipeline.build_cache import REPORT, BuildCache, is_intact, user_cache
from edgekit.pipeline.build_key import BuildKeys, is_repeatable
from edgekit.pipeline.fleet.crew import Crew, Ended, Job
from edgekit.pipeline.fleet.fleet_file import read_fleet
from edgekit.pipeline.fleet.member import Failure, Member, State
from edgekit.pipeline.fleet.pool import Pool, cores
from edgekit.pipeline.fleet.result import RECORD, FleetResult, MemberResult, keys_of_finished, read_report
from edgekit.pipeline.plan import plan
from edgekit.report.fleet_page import fleet_page

PAGE = "index.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A member has come to a stage, or has ended; `done` of `of` members have."""

    name: str
    stage: str
    result: MemberResult | None
    done: int
    of: int


def fleet(
    members: Path | str | Sequence[Member],
    *,
    output: Path | str,
    workers: int | None = None,
    ray: str | None = None,
    progress: Callable[[Progress], None] = lambda _progress: None,
) -> FleetResult:
    """Builds the members, or those of the file of this name (docs/fleet.md), each into a build folder of its name in `output`.

    A member that is there already, of the same inputs, is kept; one that the cache has is copied; the rest is built by `workers`
    processes, as many as there are cores where None, or on the Ray cluster at the address `ray`. A member that fails stops no
    other: see `FleetResult.failed`. `fleet.json` and `index.html` in `output` tell of all of them, and are written anew as each
    ends. Raises BadInputError, UsageError and MissingExtraError before anything is built.
    """
    started = time.perf_counter()
    listed = read_fleet(Path(members)) if isinstance(members, (str, Path)) else tuple(members)
    crew = _crew(workers, ray, len(listed))
    folder = Path(output)
    with _held(folder):
        run = _Run(folder=folder, members=listed, crew=crew.describe(), started_s=started, progress=progress)
        for ready in run.jobs():
            with closing(crew.run(ready, run.tell)) as ended:
                for one in ended:
                    run.end(one)
        return run.write()


def _crew(workers: int | None, ray: str | None, members: int) -> Crew:
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers build nothing", hint="give at least 1")
    if ray is None:
        return Pool(workers=max(1, min(workers or cores(), members)))
    if workers is not None:
        raise UsageError("a cluster has its own number of workers", hint="leave out --workers, or --ray")
    from edgekit.pipeline.fleet.cluster import Cluster

    return Cluster.at(ray)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder is ours alone meanwhile. Raises UsageError where it is not for us to write in, BadInputError where nobody can."""
    if folder.exists() and not (folder / RECORD).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(
            f"{folder} holds no {RECORD}, so no fleet was built there",
            hint="choose another folder with -o, or an empty one",
        )
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another fleet is being built in {folder}", hint="wait until it has ended") from error
        yield
    finally:
        os.close(handle)


@dataclass(kw_only=True, slots=True)
class _Run:
    """One run over all members: what has become of each so far."""

    folder: Path
    members: Sequence[Member]
    crew: str
    started_s: float
    progress: Callable[[Progress], None]
    cache: BuildCache = field(default_factory=user_cache)
    results: dict[str, MemberResult] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def jobs(self) -> Iterator[Sequence[Job]]:
        """What neither lies in the folder nor in the cache; and then, once those are built, what is the same under another name and
        could not be taken from the cache even so."""
        first, twins = list[Job](), list[Job]()
        asked = set[str]()
        finished = keys_of_finished(self.folder)
        keys = BuildKeys()
        for member in self.members:
            try:
                planned = plan(**member.arguments)
                key = self.keys[member.name] = keys.key_of(planned)
                job = Job(member=member, planned=planned, place=self.folder / member.name)
                if not self._is_there(job, finished):
                    (twins if key in asked else first).append(job)
                    asked.add(key)
            except Exception as error:
                self._ended(member, State.FAILED, failure=Failure.of(error))
        self.write()
        yield first
        yield [job for job in twins if not self._is_there(job, {})]

    def _is_there(self, job: Job, finished: Mapping[str, str]) -> bool:
        """Whether its folder lies at its place; what does not belong there is removed."""
        name, key = job.member.name, self.keys[job.member.name]
        if finished.get(name) == key and is_intact(job.place):
            self._ended(job.member, State.KEPT)
            return True
        if (job.place / REPORT).is_file():
            shutil.rmtree(job.place)
        started = time.perf_counter()
        if is_repeatable(job.planned) and self.cache.take(key, job.place, job.planned):
            self._ended(job.member, State.CACHED, seconds=time.perf_counter() - started)
            return True
        return False

    def tell(self, name: str, stage: str) -> None:
        self.progress(Progress(name=name, stage=stage, result=None, done=len(self.results), of=len(self.members)))

    def end(self, ended: Ended) -> None:
        member = ended.job.member
        if ended.failure is not None:
            self._ended(member, State.FAILED, failure=ended.failure, seconds=ended.seconds)
        else:
            if is_repeatable(ended.job.planned):
                self.cache.put(self.keys[member.name], ended.job.place)
            self._ended(member, State.BUILT, seconds=ended.seconds)
        self.write()

    def _ended(self, member: Member, state: State, *, failure: Failure | None = None, seconds: float = 0.0) -> None:
        place = self.folder / member.name
        result = MemberResult(
            member=member,
            state=state,
            key=self.keys.get(member.name, ""),
            seconds=seconds,
            folder=place if failure is None else None,
            failure=failure,
            report=read_report(place) if failure is None else {},
        )
        self.results[member.name] = result
        done = len(self.results)
        self.progress(Progress(name=member.name, stage=state.value, result=result, done=done, of=len(self.members)))

    def write(self) -> FleetResult:
        """The record and the page, of all that has ended so far."""
        result = FleetResult(
            folder=self.folder,
            members=tuple(self.results[one.name] for one in self.members if one.name in self.results),
            crew=self.crew,
            seconds=time.perf_counter() - self.started_s,
        )
        record = result.to_json()
        write_bytes(self.folder / PAGE, fleet_page(record).encode())
        write_json(self.folder / RECORD, record)
        return result

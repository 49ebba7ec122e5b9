"""Builds members of a fleet on a Ray cluster: inputs go there, and build folders come back, as bytes."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgekit.core.data_folders import user_folder
from edgekit.core.errors import EdgekitError, ExitCode, VerificationError
from edgekit.core.images import list_images
from edgekit.core.records import whole_folder
from edgekit.pipeline.build_cache import REPORT, is_intact
from edgekit.pipeline.build_key import BuildKeys
from edgekit.pipeline.examples import Examples
from edgekit.pipeline.fleet.crew import Ended, Job, Tell
from edgekit.pipeline.fleet.member import Failure, job_of
from edgekit.pipeline.fleet.remote import OWN, Files, build_there, write_files
from edgekit.pipeline.moved_build import move_records
from edgekit.pipeline.ray_cluster import ray_cluster, require_ray

RETRIES: Final = 3
"""How often a job is given to another worker, where one is lost with it."""

_GRACE_S: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """The Ray cluster at an address: `HOST:PORT`, `ray://HOST:PORT`, or `auto` for the one that this machine belongs to.

    Its machines have the same edgekit and the same libraries; a job takes one of their cores. Who reaches a cluster can run
    programs on it, and its answers are unpickled here: it must be one of your own.
    """

    address: str

    @classmethod
    def at(cls, address: str) -> Cluster:
        """Raises MissingExtraError; whether the cluster answers is seen when there is something to build."""
        require_ray()
        return cls(address=address)

    def describe(self) -> str:
        return f"the Ray cluster at {self.address}"

    def run(self, jobs: Sequence[Job], tell: Tell) -> Generator[Ended]:
        """Raises UsageError where nothing answers at the address."""
        if not jobs:
            return
        import ray

        with ray_cluster(self.address):
            there = ray.remote(num_cpus=1, max_retries=RETRIES)(build_there)
            surroundings = BuildKeys().surroundings
            sent: dict[Path, Any] = {}
            under_way: dict[Any, tuple[Job, float]] = {}
            try:
                for job in jobs:
                    inputs = _inputs(job)
                    for folder, paths in inputs.values():
                        if folder not in sent:  # once, however many jobs need it
                            sent[folder] = ray.put(_contents(folder, paths))
                    named = {role: (_name(job, role), sent[folder]) for role, (folder, _) in inputs.items()}
                    under_way[there.remote(job_of(job.member, job.place), named, surroundings)] = job, time.monotonic()
                    tell(job.member.name, "sent")
                while under_way:
                    for done in ray.wait(list(under_way), timeout=1.0)[0]:
                        job, since = under_way.pop(done)
                        failure = _received(job, done)
                        yield Ended(job=job, seconds=time.monotonic() - since, failure=failure)
            finally:
                if under_way:
                    for reference in under_way:
                        ray.cancel(reference)
                    ray.wait(list(under_way), num_returns=len(under_way), timeout=_GRACE_S)


def _inputs(job: Job) -> dict[str, tuple[Path, Sequence[Path]]]:
    """Folders that the build reads, by what they are to it, and the files in each."""
    planned = job.planned
    inputs: dict[str, tuple[Path, Sequence[Path]]] = {"model": (planned.model.path, _files(planned.model.path))}
    if isinstance(planned.task, Examples):
        inputs["examples"] = planned.task.folder, list_images(planned.task.folder)
    if planned.data is not None:
        inputs["data"] = planned.data, list_images(planned.data)
    return inputs | {name: (folder, _files(folder)) for name in OWN if (folder := user_folder(name)).is_dir()}


def _name(job: Job, role: str) -> str:
    """What the folder is called there: a build's files name its supernet and its examples."""
    if role == "examples" and isinstance(job.planned.task, Examples):
        return job.planned.task.folder.name
    return job.planned.model.name if role == "model" else role


def _files(folder: Path) -> Sequence[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _contents(folder: Path, paths: Sequence[Path]) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _received(job: Job, reference: Any) -> Failure | None:
    """Puts the folder at its place, or says what kept it."""
    import ray

    try:
        failure, files = ray.get(reference)
        if failure is None:
            _write(job, files)
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Failure(code=int(ExitCode.UNEXPECTED), message=f"the cluster lost it: {lines[-1]}", trace=str(error))
    except (EdgekitError, OSError) as error:
        return Failure.of(error)
    return None if failure is None else Failure(**failure)


def _write(job: Job, files: Files) -> None:
    with whole_folder(job.place, overwrite=True, marker=REPORT) as folder:
        write_files(folder, files)
        if not is_intact(folder):
            raise VerificationError("the folder that came from the cluster is not whole", hint="run the fleet again")
        move_records(folder, job.place, job.planned)

"""Finished builds, kept so that nothing is built twice: whole folders by the key of their inputs, the least used go first.

A folder is never changed once it is there, so that readers need no lock; it comes and goes by one rename.
"""

from __future__ import annotations

import os
import shutil
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path, user_config_path

from edgekit.core.errors import BadInputError
from edgekit.core.records import read_json, sha256_of, whole_folder, write_bytes
from edgekit.pipeline.moved_build import move_records
from edgekit.pipeline.plan import BuildPlan
from edgekit.pipeline.result import REPORT_SCHEMA

DEFAULT_LIMIT_BYTES: Final = 2_000_000_000
REPORT: Final = "report.json"
LIMIT_KEY: Final = "builds_limit_bytes"
_SET: Final = "set it anew: edgekit cache limit 2GB"
# Half-written and half-removed folders of a process that was killed.
_STALE_AFTER_S: Final = 24 * 3600


class _NotThereError(Exception):
    """The build is not in the cache, or no longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A build in the cache; `used_s` is when it was last put there or taken, in seconds since 1970."""

    folder: Path
    size_bytes: int
    used_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildCache:
    """Build folders in `folder`, together at most `limit_bytes`; the last one put there stays whatever its size."""

    folder: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    def place(self, key: str) -> Path:
        return self.folder / key

    def holds(self, key: str) -> bool:
        """Whether there is a build of this key with all its files as they were. One that is damaged is removed."""
        place = self.place(key)
        if not (place / REPORT).is_file():
            return False
        if not is_intact(place):
            self._remove(place)
            return False
        with suppress(OSError):
            os.utime(place)
        return True

    def put(self, key: str, build: Path) -> None:
        """A copy of the folder `build`, unless there is one. A full disk or a closed folder leaves the cache as it was."""
        if self.limit_bytes == 0 or (self.place(key) / REPORT).is_file():
            return
        with suppress(BadInputError), whole_folder(self.place(key), overwrite=True, marker=REPORT) as folder:
            shutil.copytree(build, folder, dirs_exist_ok=True)
        self.trim(keep=key)

    def take(self, key: str, place: Path, planned: BuildPlan) -> bool:
        """Puts the build of `planned` at `place`, in place of an older one, and says in its report when it was built.

        False where the cache has it not, or not whole. Raises UsageError, BadInputError where `place` cannot be written.
        """
        found = self.place(key)
        try:
            built = datetime.fromtimestamp((found / REPORT).stat().st_mtime, UTC)
            with whole_folder(place, overwrite=True, marker=REPORT) as folder:
                self._copy(key, folder)
                cached = {"key": key, "built": built.isoformat(timespec="seconds")}
                move_records(folder, place, planned, cached=cached)
        except (_NotThereError, FileNotFoundError):
            return False
        return True

    def _copy(self, key: str, folder: Path) -> None:
        """Checked once it is copied: what is there now may be on its way out. Raises _NotThereError."""
        found = self.place(key)
        try:
            shutil.copytree(found, folder, dirs_exist_ok=True)
        except OSError as error:
            if (found / REPORT).is_file():
                raise
            raise _NotThereError from error
        if not is_intact(folder):
            self._remove(found)
            raise _NotThereError
        with suppress(OSError):
            os.utime(found)

    def trim(self, *, keep: str = "") -> None:
        """Removes the builds least used, save that of `keep`, until the rest is within the limit."""
        entries = sorted(self.entries(), key=lambda entry: entry.used_s)
        total = sum(entry.size_bytes for entry in entries)
        for entry in entries:
            if total <= self.limit_bytes:
                break
            if entry.folder.name != keep:
                self._remove(entry.folder)
                total -= entry.size_bytes
        for path in self._hidden():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_AFTER_S:
                    shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> int:
        """How many builds were removed."""
        entries = tuple(self.entries())
        for entry in entries:
            self._remove(entry.folder)
        return len(entries)

    def entries(self) -> Iterator[Entry]:
        """Those that go while this is read are left out."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                if not path.name.startswith(".") and (path / REPORT).is_file():
                    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                    yield Entry(folder=path, size_bytes=size, used_s=path.stat().st_mtime)

    def _hidden(self) -> tuple[Path, ...]:
        return tuple(self.folder.glob(".*")) if self.folder.is_dir() else ()

    def _remove(self, folder: Path) -> None:
        """At once for readers: it is renamed first. Another process may have been faster."""
        going = folder.with_name(f".{folder.name}.{os.getpid()}.{time.monotonic_ns()}.gone")
        with suppress(FileNotFoundError):
            folder.rename(going)
            shutil.rmtree(going, ignore_errors=True)


def is_intact(build: Path) -> bool:
    """Whether all files that the folder's report lists are as they were when it was written."""
    try:
        sums = read_json(build / REPORT, schema_version=REPORT_SCHEMA)["sha256"]
        return bool(sums) and all(sha256_of(build / name) == expected for name, expected in sums.items())
    except (BadInputError, OSError, KeyError, TypeError, AttributeError):
        return False


def user_cache() -> BuildCache:
    """The user's own. Raises BadInputError for a limit that is none."""
    return BuildCache(folder=user_cache_path("edgekit") / "builds", limit_bytes=_limit())


def set_limit(limit_bytes: int) -> None:
    """From now on. Raises BadInputError where it cannot be written."""
    write_bytes(_settings(), f"{LIMIT_KEY} = {limit_bytes}\n".encode())


def _limit() -> int:
    path = _settings()
    if not path.is_file():
        return DEFAULT_LIMIT_BYTES
    try:
        limit = tomllib.loads(path.read_text(encoding="utf-8"))[LIMIT_KEY]
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(f"cannot read {path}: {error}", hint=_SET) from error
    if type(limit) is not int or limit < 0:
        raise BadInputError(f"{path}: {LIMIT_KEY} = {limit} is no number of bytes", hint=_SET)
    return limit


def _settings() -> Path:
    return user_config_path("edgekit") / "cache.toml"

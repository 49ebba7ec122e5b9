"""Records on disk: written beside their place and renamed, so that a reader sees the old or the new, never a part."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgekit.core.errors import BadInputError, UsageError


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals while writing `path` into one sentence. Raises BadInputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInputError(
            f"cannot write {path}: {reason}", hint="choose a folder that is writable and has space, with -o"
        ) from error


def write_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Writes a whole file or none, at no moment open to others than `mode` says. Raises BadInputError."""
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).chmod(mode)
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path, *, schema_version: int) -> dict[str, Any]:
    """A record that edgekit wrote. Raises BadInputError where it is missing, truncated, or of another schema."""
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}", hint="give a folder that edgekit wrote") from error
    except ValueError as error:
        raise BadInputError(f"{path} is not a complete JSON record: {error}", hint="make the folder again") from error
    found = record.get("schema_version") if isinstance(record, dict) else None
    if found != schema_version:
        raise BadInputError(
            f"{path} has schema version {found}, expected {schema_version}",
            hint="make it again with this version of edgekit",
        )
    return dict(record)


def check_replaceable(folder: Path, *, overwrite: bool, marker: str) -> None:
    """Raises UsageError where `whole_folder` would not put a folder there."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if not overwrite:
            raise UsageError(f"{folder} exists", hint="choose another folder with -o, or give --overwrite")
        if not (folder / marker).is_file():
            raise UsageError(
                f"{folder} holds no {marker}, so edgekit did not write it and will not replace it",
                hint="choose another folder with -o",
            )


@contextmanager
def whole_folder(folder: Path, *, overwrite: bool, marker: str) -> Iterator[Path]:
    """A folder that appears whole or not at all: yields a working folder beside it, renamed into place at the end.

    An older folder stays untouched until the new one is complete, and is only ever replaced where it holds the file
    `marker`, the sign that edgekit wrote it. Raises UsageError where `folder` exists and may not be replaced,
    BadInputError where nothing can be written.
    """
    folder = folder.resolve()  # where it is a link: a rename would replace the link, not the folder
    check_replaceable(folder, overwrite=overwrite, marker=marker)
    new_parents = [parent for parent in folder.parents if not parent.exists()]
    with writing_to(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    replaced = working.with_name(working.name + ".old")
    try:
        with writing_to(folder):
            yield working
            working.chmod(0o755)
            try:
                if folder.exists():
                    folder.replace(replaced)
                working.replace(folder)
            except BaseException:
                if replaced.exists() and not folder.exists():
                    replaced.replace(folder)
                raise
    finally:
        shutil.rmtree(working, ignore_errors=True)
        if folder.exists():  # else the older folder could not be put back, and is all there is
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            for parent in new_parents:
                with suppress(OSError):
                    parent.rmdir()

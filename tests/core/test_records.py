"""Files and folders appear whole or not at all, whatever happens on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import BadInputError, ExitCode, UsageError
from edgekit.core.records import read_json, sha256_of, whole_folder, write_bytes, write_json

MARKER = "report.json"
FILES = {MARKER: b"old report", "model.tflite": b"old model", "log.txt": b"old log"}


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A finished build."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write, not even root: a file stands where its parent should be."""
    blocker = tmp_path / "a file"
    blocker.write_text("in the way")
    yield blocker / "below"
    assert blocker.read_text() == "in the way"


class StageError(Exception):
    """Any failure of a stage."""


@pytest.mark.parametrize("failure", [StageError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("files_before", range(4))
def test_an_older_folder_outlives_any_failure(older: Path, failure: type[BaseException], files_before: int) -> None:
    with pytest.raises(failure), whole_folder(older, overwrite=True, marker=MARKER) as working:  # noqa: PT012
        for name in [*FILES][:files_before]:
            write_bytes(working / name, b"new")
        (working / "half").write_bytes(b"hal")
        raise failure
    assert content_of(older) == FILES
    assert [path.name for path in older.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("failure", [StageError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_at_the_last_moment_leaves_the_older_folder(
    older: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException], existing: bool
) -> None:
    folder = older if existing else older.with_name("fresh")
    rename = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if Path(target) == folder and not self.name.endswith(".old"):
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(failure), whole_folder(folder, overwrite=True, marker=MARKER) as working:
        (working / MARKER).write_bytes(b"new")
    assert content_of(older) == FILES
    assert [path.name for path in older.parent.iterdir()] == ["out"]


def test_an_older_folder_that_cannot_be_put_back_is_not_deleted(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.replace

    def only_away(self: Path, target: Path) -> Path:
        if Path(target) == older:
            raise PermissionError(1, "Operation not permitted")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", only_away)
    with (
        pytest.raises(BadInputError, match="not permitted"),
        whole_folder(older, overwrite=True, marker=MARKER) as working,
    ):
        (working / MARKER).write_bytes(b"new")
    (kept,) = older.parent.iterdir()
    assert content_of(kept) == FILES


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    with whole_folder(folder, overwrite=False, marker=MARKER) as working:
        (working / MARKER).write_text("{}")
        assert not folder.exists()
        assert working.parent == folder.parent, "a rename is whole only within one file system"
    assert content_of(folder) == {MARKER: b"{}"}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out", overwrite=False, marker=MARKER) as working:
        write_bytes(working / MARKER, b"{}")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out" / MARKER).stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_no_empty_parents(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "a" / "b" / "out", overwrite=False, marker="m"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_replacing_keeps_nothing_of_the_older_folder(older: Path) -> None:
    with whole_folder(older, overwrite=True, marker=MARKER) as working:
        (working / MARKER).write_bytes(b"new")
        assert content_of(older) == FILES
    assert content_of(older) == {MARKER: b"new"}
    assert [path.name for path in older.parent.iterdir()] == ["out"]


def test_a_link_to_a_folder_is_followed(older: Path) -> None:
    link = older.parent / "links" / "latest"
    link.parent.mkdir()
    link.symlink_to(older, target_is_directory=True)
    with whole_folder(link, overwrite=True, marker=MARKER) as working:
        (working / MARKER).write_bytes(b"new")
    assert link.is_symlink()
    assert content_of(older) == {MARKER: b"new"}
    assert [path.name for path in link.parent.iterdir()] == ["latest"]
    assert {path.name for path in older.parent.iterdir()} == {"out", "links"}


def test_an_existing_folder_is_replaced_on_request_only(older: Path) -> None:
    with (
        pytest.raises(UsageError, match="exists") as caught,
        whole_folder(older, overwrite=False, marker=MARKER),
    ):
        pytest.fail("the body must not run")
    assert caught.value.code is ExitCode.USAGE
    assert "--overwrite" in caught.value.hint
    assert content_of(older) == FILES


@pytest.mark.parametrize("kind", ["a user's folder", "a file"])
def test_what_edgekit_did_not_write_is_never_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photos"
    if kind == "a file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "holiday.jpg").write_text("mine")
    with (
        pytest.raises(UsageError, match="did not write it"),
        whole_folder(path, overwrite=True, marker=MARKER),
    ):
        pytest.fail("the body must not run")
    assert (path if path.is_file() else path / "holiday.jpg").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with whole_folder(tmp_path / "out", overwrite=False, marker=MARKER) as working:
        (working / MARKER).write_bytes(b"new")
    assert content_of(tmp_path / "out") == {MARKER: b"new"}


def test_a_place_that_cannot_be_written_is_one_sentence(unwritable: Path) -> None:
    with (
        pytest.raises(BadInputError, match="cannot write") as caught,
        whole_folder(unwritable, overwrite=False, marker=MARKER),
    ):
        pytest.fail("the body must not run")
    assert caught.value.code is ExitCode.BAD_INPUT
    assert "-o" in caught.value.hint
    with pytest.raises(BadInputError, match="cannot write"):
        write_bytes(unwritable, b"content")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_protected_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(BadInputError, match="Permission denied"):
        write_bytes(tmp_path / "file", b"content")


FULL_DISK = """
import resource, sys
from pathlib import Path
from edgekit.core.errors import BadInputError
from edgekit.core.records import whole_folder, write_bytes

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = Path(sys.argv[1])
try:
    write_bytes(folder / "log.txt", b"x" * 5000)
except BadInputError as error:
    print(error)
try:
    with whole_folder(folder, overwrite=True, marker="report.json") as working:
        write_bytes(working / "report.json", b"new")
        (working / "model.tflite").write_bytes(b"x" * 5000)
except BadInputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of a file's size are POSIX")
def test_a_full_disk_leaves_the_older_folder(older: Path) -> None:
    """A limit on the size of files stands for the full disk: both refuse a write in the middle."""
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(older)], capture_output=True, text=True, check=True)
    first, second = run.stdout.splitlines()
    assert first.startswith(f"cannot write {older / 'log.txt'}: ")
    assert second.startswith(f"cannot write {older}: ")
    assert content_of(older) == FILES
    assert [path.name for path in older.parent.iterdir()] == ["out"]


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "deep" / "file"
    for written in (b"older", content):
        write_bytes(path, written)
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_an_interrupted_write_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"schema_version": 1, "text": "older"})
    before = path.read_bytes()

    def interrupted(_handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"schema_version": 1, "text": "newer"})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_a_record_that_cannot_be_written_down_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"schema_version": 1})
    with pytest.raises(TypeError):
        write_json(path, {"schema_version": 1, "path": tmp_path})
    assert read_json(path, schema_version=1) == {"schema_version": 1}


texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(texts, values), st.integers(1, 9))
def test_a_record_reads_as_written(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, object], schema: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "record.json"
    record |= {"schema_version": schema}
    write_json(path, record)
    assert read_json(path, schema_version=schema) == record
    assert path.read_bytes().decode() == json.dumps(record, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 1, "labels": ["a", ', b"\xff\xfe\x00", b"NUL\0"])
def test_a_truncated_record_is_bad_input(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="not a complete JSON record") as caught:
        read_json(path, schema_version=1)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("content", ["{}", "[]", "null", "3", '{"schema_version": 2}', '{"schema_version": "1"}'])
def test_a_record_of_another_schema_is_bad_input(tmp_path: Path, content: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match="schema version"):
        read_json(path, schema_version=1)


def test_a_missing_record_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        read_json(tmp_path / "absent.json", schema_version=1)
    with pytest.raises(BadInputError, match="cannot read"):
        read_json(tmp_path, schema_version=1)


def test_a_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "file") == expected

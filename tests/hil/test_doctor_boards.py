"""Boards behind a real sshd, examined all at once: one that answers, one too hot, two that do not."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tomli_w
from real_sshd import Sshd, free_port

from edgekit.pipeline.doctor.boards import examine_boards
from edgekit.pipeline.doctor.finding import State

pytestmark = [pytest.mark.hil, pytest.mark.usefixtures("no_process_left")]


@pytest.fixture
def described(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    firmware = tmp_path / "bin" / "vcgencmd"
    firmware.parent.mkdir()
    firmware.write_text("#!/bin/sh\necho throttled=0x50005\n")
    firmware.chmod(0o755)
    (tmp_path / "no_hosts").write_text("")
    (tmp_path / "localhost").write_text(Path(sshd.known_hosts_file).read_text().replace("[127.0.0.1]", "[localhost]"))
    table = sshd.table(workspace=str(tmp_path / "workspace"), python=[sys.executable])
    boards = {
        "answers": table,
        "hot one": table
        | {
            "host": "localhost",
            "known_hosts_file": str(tmp_path / "localhost"),
            "workspace": str(tmp_path / "hot"),
            "env": {"PATH": f"{firmware.parent}:/usr/bin:/bin"},
        },
        "off": table | {"port": free_port()},
        "stranger": table | {"host": "127.0.0.2", "known_hosts_file": str(tmp_path / "no_hosts")},
    }
    folder = tmp_path / "config/edgekit"
    folder.mkdir(parents=True)
    (folder / "boards.toml").write_text(tomli_w.dumps({"boards": boards}))


@pytest.mark.usefixtures("described")
def test_each_board_says_how_it_is() -> None:
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        found = {finding.name: finding for finding in examine_boards(pool, ask=True)}
    assert time.monotonic() - started < 30
    assert found["answers"].state in (State.OK, State.NOTICE)
    assert "answers: Linux" in found["answers"].found
    assert "ai-edge-litert 2." in found["answers"].found
    assert found["hot one"].state is State.NOTICE
    assert "throttled 0x50005" in found["hot one"].found
    assert "let it cool" in found["hot one"].fix
    assert found["off"].state is State.BROKEN
    assert "does not answer" in found["off"].found
    assert found["stranger"].state is State.BROKEN
    assert found["stranger"].fix


@pytest.mark.usefixtures("described")
def test_boards_are_left_alone_unless_they_are_to_be_asked() -> None:
    with ThreadPoolExecutor() as pool:
        found = list(examine_boards(pool, ask=False))
    assert {finding.state for finding in found} == {State.UNTRIED}
    assert {finding.fix for finding in found} == {"edgekit doctor --boards"}

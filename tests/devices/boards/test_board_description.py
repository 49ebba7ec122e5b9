"""boards.toml: what is read, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import BadInputError, UsageError
from edgekit.devices.boards.board import AdbBoard, LocalBoard, QemuBoard, SshBoard, list_boards, load_board

PI = """
[boards.pi]
device = "rpi4"
transport = "ssh"
host = "pi.local"
user = "me"
workspace = "/home/me/edgekit"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgekit" / "boards.d").mkdir(parents=True)
    return tmp_path / "edgekit"


@pytest.mark.usefixtures("config")
def test_without_a_file_this_machine_is_the_only_board() -> None:
    (board,) = list_boards()
    assert isinstance(board, LocalBoard)
    assert (board.name, board.device, board.emulated) == ("local", "host", False)


def test_boards_of_every_kind_are_read_from_both_places(config: Path) -> None:
    (config / "boards.toml").write_text(PI)
    (config / "boards.d" / "lab.toml").write_text(
        """
[boards.lab]
device = "rpi4"
transport = "qemu"
emulated = true
sysroot = "/lab/sysroot"
cpu = "cortex-a72"
plugin = "/lab/count.so"
workspace = "/lab/work"
python = ["/usr/bin/python3.11", "-S"]
[boards.lab.env]
A = "b"
[boards.phone]
device = "rpi4"
transport = "adb"
serial = "127.0.0.1:6000"
workspace = "/data/local/tmp/edgekit"
"""
    )
    boards = {board.name: board for board in list_boards()}
    assert set(boards) == {"lab", "local", "phone", "pi"}
    assert isinstance(boards["pi"], SshBoard)
    assert isinstance(boards["phone"], AdbBoard)
    assert isinstance(boards["lab"], QemuBoard)
    assert boards["lab"].python == ("/usr/bin/python3.11", "-S")
    assert boards["lab"].env == {"A": "b"}
    assert boards["pi"].python == ("python3",)


def test_two_names_of_one_board_have_one_address(config: Path) -> None:
    (config / "boards.toml").write_text(PI + PI.replace("boards.pi", "boards.same").replace('"rpi4"', '"rk3399"'))
    assert load_board("pi").address == load_board("same").address


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('host = "pi.local"', 'hots = "pi.local"'), 'unknown key "hots"'),
        (('host = "pi.local"', ""), "host is missing"),
        (('transport = "ssh"', 'transport = "telnet"'), "telnet"),
        (('host = "pi.local"', 'host = "-oProxyCommand=x"'), "hyphen"),
        (('user = "me"', 'user = "-me"'), "hyphen"),
        (('user = "me"', "user = 5"), "user = 5 must be a text"),
        (('user = "me"', 'port = "22"'), "port"),
        (('user = "me"', "emulated = 1"), "true or false"),
        (('user = "me"', "python = []"), "list of strings"),
        (('workspace = "/home/me/edgekit"', 'workspace = "~/edgekit"'), "absolute path"),
        (("[boards.pi]", "[board.pi]"), "boards.NAME"),
        (("[boards.pi]", "[boards.pi"), "not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file(config: Path, change: tuple[str, str], words: str) -> None:
    (config / "boards.toml").write_text(PI.replace(*change))
    with pytest.raises(BadInputError, match=r"boards\.toml") as raised:
        load_board("pi")
    assert words in raised.value.message


def test_a_board_described_twice_and_an_emulator_said_to_be_real_are_refused(config: Path) -> None:
    (config / "boards.toml").write_text(PI)
    (config / "boards.d" / "more.toml").write_text(PI)
    with pytest.raises(BadInputError, match="a second time"):
        list_boards()
    (config / "boards.d" / "more.toml").write_text(
        '[boards.q]\ndevice = "rpi4"\ntransport = "qemu"\nworkspace = "/w"\nsysroot = "s"\ncpu = "c"\nplugin = "p"\n'
    )
    with pytest.raises(BadInputError, match="emulated must be true"):
        list_boards()


def test_an_unknown_board_is_answered_with_the_known_ones(config: Path) -> None:
    (config / "boards.toml").write_text(PI)
    with pytest.raises(UsageError, match="no board") as raised:
        load_board("pj")
    assert '"pi"' in raised.value.hint
    assert "boards.toml" in raised.value.hint

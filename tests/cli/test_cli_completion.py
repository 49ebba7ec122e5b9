"""The tab key in bash, zsh and fish themselves, on a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgekit_command import assert_fails, edgekit
from hypothesis import given, settings
from hypothesis import strategies as st

import edgekit as package
from edgekit.cli.completion import as_bash_replaces, split_line
from edgekit.core.errors import ExitCode

# What a shell would take apart, expand or run if it were not quoted.
ODD = 'hot "one" $(touch pwned); it\'s `é` & #1, or:so'
MAX_S = 0.6  # the promise is 0.3 s; a machine that runs tests has other things to do as well
START = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}
PREPARE = {
    "bash": 'bind "set enable-bracketed-paste off"; eval "$(edgekit completion bash)"',
    "zsh": 'autoload -Uz compinit; compinit -u -D; eval "$(edgekit completion zsh)"',
    "fish": "edgekit completion fish | source",
}


class Terminal:
    """A shell on a pseudo-terminal, whose `edgekit` completes truly and otherwise notes its arguments."""

    def __init__(self, shell: str, folder: Path) -> None:
        self.folder, self.noted, self.said = folder, folder / "arguments.json", b""
        program = folder / "bin" / "edgekit"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            f"sys.path.insert(0, {str(Path(package.__file__).parents[1])!r})\n"
            "if '_EDGEKIT_COMPLETE' in os.environ or 'completion' in sys.argv:\n"
            "    from edgekit.cli.main import main\n"
            "    sys.exit(main())\n"
            f"open({str(self.noted)!r} + '.part', 'w').write(json.dumps(sys.argv[1:]))\n"
            f"os.replace({str(self.noted)!r} + '.part', {str(self.noted)!r})\n"
        )
        program.chmod(0o755)
        config = folder / "config/edgekit"
        config.mkdir(parents=True)
        table = '{ transport = "local", device = "host", workspace = "/tmp/w" }'
        (config / "boards.toml").write_text(f"[boards]\n{json.dumps(ODD, ensure_ascii=False)} = {table}\n")
        environment = {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "TERM": "dumb",
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(START[shell][0], START[shell], environment)  # noqa: S606
        self.type(PREPARE[shell] + "; echo rea''dy\n")
        self._await(lambda: b"ready" in self.said)

    def type(self, keys: str) -> None:
        os.write(self.end, keys.encode())

    def run(self, keys: str) -> list[str]:
        """What `edgekit` was called with when these keys and the return key were pressed."""
        self.noted.unlink(missing_ok=True)
        self.type(keys + "\n")
        self._await(self.noted.exists)
        return list(json.loads(self.noted.read_text()))

    def _await(self, happened) -> None:
        ends = time.monotonic() + 20
        while not happened():
            assert time.monotonic() < ends, self.said.decode(errors="replace")
            if select.select([self.end], [], [], 0.05)[0]:
                self.said += os.read(self.end, 65536)

    def close(self) -> None:
        os.close(self.end)  # hangs up
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module", params=START)
def terminal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    opened = Terminal(request.param, tmp_path_factory.mktemp(request.param))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("keys", "arguments"),
    [
        ("edgekit devi\tsho\tjets\t", ["devices", "show", "jetson-xavier-cpu"]),
        ("edgekit passes show prune::ne\t", ["passes", "show", "prune::net_trim"]),
        ("edgekit build --target rpi4:onnx-i\t", ["build", "--target", "rpi4:onnx-int8"]),
        ('edgekit build --task "stop, no en\t', ["build", "--task", "stop, no entry"]),
        (
            'edgekit build --model things200 --task "goldfish, boa\t',
            ["build", "--model", "things200", "--task", "goldfish, boa constrictor"],
        ),
        ("edgekit devices probe hot\t", ["devices", "probe", ODD]),
        ("edgekit build --board h\t", ["build", "--board", ODD]),
    ],
    ids=["commands", "colons", "target", "labels", "of the model", "odd board", "odd option"],
)
def test_the_tab_key(terminal: Terminal, keys: str, arguments: list[str]) -> None:
    assert terminal.run(keys) == arguments
    assert not (terminal.folder / "pwned").exists()


def test_an_answer_comes_at_once(tmp_path: Path) -> None:
    line = 'edgekit build --task "stop, '
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_EDGEKIT_COMPLETE": "bash_complete"}
    code = "import sys; from edgekit.cli.main import main; code = main(); sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | asked,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds.append(time.monotonic() - started)
    assert "plain,stop, yield" in done.stdout.splitlines()
    assert not {"numpy", "torch", "rich"} & {*done.stderr.split()}
    assert min(seconds) < MAX_S


def test_a_broken_file_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "edgekit").mkdir()
    (tmp_path / "edgekit/boards.toml").write_text("[boards")
    line = "edgekit build --board "
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_EDGEKIT_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "edgekit.cli.main"],
        env=os.environ | asked | {"XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_an_unknown_shell_is_answered_with_those_there_are() -> None:
    assert_fails(edgekit("completion", "tcsh"), ExitCode.USAGE, "bash", "zsh", "fish")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1), st.sampled_from(['"', ""]))
def test_bash_reads_back_what_was_completed(value: str, quote: str) -> None:
    """Behind an open quote, and without one."""
    written = as_bash_replaces(value, "", quote, {})
    line = f"printf %s {quote}{written}{quote}"
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, check=True)
    assert done.stdout.decode() == value


def test_what_is_typed_is_split_as_a_shell_splits_it() -> None:
    assert split_line("edgekit build ") == (["edgekit", "build"], "", "")
    assert split_line("edgekit build --b") == (["edgekit", "build"], "--b", "")
    assert split_line("edgekit build --task 'stop, ") == (["edgekit", "build", "--task"], "stop, ", "'")
    assert split_line(r"edgekit probe my\ bo") == (["edgekit", "probe"], "my bo", "")
    assert split_line("") == ([], "", "")

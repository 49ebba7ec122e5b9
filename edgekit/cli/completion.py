"""edgekit completion, and what the shell's function asks when a user presses the tab key."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Final

import click

VARIABLE: Final = "_EDGEKIT_COMPLETE"
_PROGRAM: Final = "edgekit"
_SHELLS: Final = ("bash", "zsh", "fish")
# Of COMP_WORDBREAKS, those that may stand unquoted within a word.
_BREAKS: Final = ":=@"

# click's own scripts for bash and fish split values at spaces and commas, and do not know that bash takes a colon for the end of a
# word: `prune::net_trim` and `rpi4:tvm` hold colons, tasks hold spaces and commas.
_BASH: Final = """\
_edgekit_completion() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        _EDGEKIT_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _edgekit_completion edgekit
"""
_FISH: Final = """\
function _edgekit_completion
    set -l response (env _EDGEKIT_COMPLETE=fish_complete COMP_WORDS=(commandline -cp | string collect) \\
        COMP_CWORD=(commandline -ct | string collect) edgekit 2>/dev/null)
    for completion in $response
        set -l parts (string split --max 1 "," $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories (commandline -ct)
            case file
                __fish_complete_path (commandline -ct)
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command edgekit --arguments "(_edgekit_completion)"
"""


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(*, shell: str) -> None:
    """Print the script for tab completion in a shell.

    It completes commands, options, and the names of devices, boards, models, passes and labels. See docs/completion.md for
    where it goes.

    \b
    edgekit completion bash
    edgekit completion fish > ~/.config/fish/completions/edgekit.fish
    """
    from click.shell_completion import get_completion_class

    script = {"bash": _BASH, "fish": _FISH}.get(shell)
    kind = get_completion_class(shell)
    if script is None and kind is not None:
        script = kind(click.get_current_context().find_root().command, {}, _PROGRAM, VARIABLE).source()
    click.echo(script, nl=False)


def complete(group: click.Group, instruction: str) -> int:
    """Answers a shell: `instruction` is `bash_complete`, `zsh_complete` or `fish_complete`. Returns the exit code."""
    from click.shell_completion import get_completion_class

    from edgekit.cli.completion_values import offer_values

    shell, _, asked = instruction.partition("_")
    kind = get_completion_class(shell)
    if asked != "complete" or shell not in _SHELLS or kind is None:
        return 1
    offer_values(group)
    answers = kind(group, {}, _PROGRAM, VARIABLE)
    if shell != "bash":
        click.echo(answers.complete())
        return 0
    words, incomplete, quote = split_line(os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])])
    typed = incomplete.partition("=")[2] if incomplete.startswith("-") and "=" in incomplete else incomplete
    for item in answers.get_completions(words[1:], incomplete):
        value = as_bash_replaces(str(item.value), typed, quote, os.environ) if item.type == "plain" else ""
        click.echo(f"{item.type},{value}")
    return 0


def split_line(line: str) -> tuple[list[str], str, str]:
    """The whole words of a command line, the one that is being typed, and the quote that is open in it or "".

    >>> split_line('edgekit build --task "stop, yi')
    (['edgekit', 'build', '--task'], 'stop, yi', '"')
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words, quote = [], ""
    try:
        for word in lexer:
            words.append(word)  # noqa: PERF402 (those before an open quote are kept)
    except ValueError:
        words.append(lexer.token)
        state = getattr(lexer, "state", "")
        quote = state if state in ("'", '"') else ""
    if not words or (not quote and re.search(r"(?<!\\)\s$", line)):
        return words, "", ""
    return words[:-1], words[-1], quote


def as_bash_replaces(value: str, typed: str, quote: str, environment: Mapping[str, str]) -> str:
    """What stands in the place of the part that bash takes for the word: all after an open quote, else what follows the last
    character of COMP_WORDBREAKS in what was typed."""
    if quote == "'":
        return value
    if quote:
        return re.sub(r'([\\"$`])', r"\\\1", value)
    breaks = [mark for mark in _BREAKS if mark in environment.get("COMP_WORDBREAKS", "")]
    kept = max((typed.rfind(mark) + 1 for mark in breaks), default=0)
    return re.sub(r"([^\w@%+=:,./~-])", r"\\\1", value[kept:])

"""The `edgekit` command: subcommands, signals, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from edgekit.cli.assemble import assemble
from edgekit.cli.build import build
from edgekit.cli.cache import cache
from edgekit.cli.compare import compare
from edgekit.cli.completion import VARIABLE, complete, completion
from edgekit.cli.compress import compress
from edgekit.cli.console import drop_output
from edgekit.cli.devices import devices
from edgekit.cli.doctor import doctor
from edgekit.cli.failures import Failure, failure_of
from edgekit.cli.federated import federated
from edgekit.cli.fleet import fleet
from edgekit.cli.help import Group, with_examples
from edgekit.cli.init import init
from edgekit.cli.interruption import Interruption
from edgekit.cli.lab import lab
from edgekit.cli.models import models
from edgekit.cli.passes import passes
from edgekit.cli.predict import predict
from edgekit.cli.profile import profile
from edgekit.cli.report import report
from edgekit.cli.verify import verify
from edgekit.core.errors import ExitCode
from edgekit.version import VERSION


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="edgekit")
def edgekit() -> None:
    """From a task and a board to a verified model.

    \b
    edgekit build --target rpi4 --task "stop, yield" --latency-ms 1.0 -o out/
    edgekit predict out/ picture.png
    edgekit doctor
    """


# What a decorator makes has not been added to any group.
edgekit.help = with_examples(edgekit.help)


for command in (
    init,
    build,
    fleet,
    compress,
    assemble,
    predict,
    verify,
    compare,
    profile,
    report,
    models,
    devices,
    passes,
    federated,
    lab,
    doctor,
    cache,
    completion,
):
    edgekit.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; nothing escapes as an exception."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    interruption = Interruption()
    interruption.listen()
    # A name in another script than the terminal's must not end a command.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if VARIABLE in os.environ:
        return complete(edgekit, os.environ[VARIABLE])
    try:
        with edgekit.make_context("edgekit", given, obj=interruption) as context:
            edgekit.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except BrokenPipeError:
        drop_output()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except BaseException as error:
        # Whatever a library has turned the interruption into.
        cause = KeyboardInterrupt() if interruption.requested else error
        return _report(failure_of(cause), error, given)
    finally:
        interruption.close()
    return ExitCode.OK


def _report(failure: Failure, error: BaseException, arguments: Sequence[str]) -> int:
    # Not what click parsed: an error of usage is reported too.
    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    try:
        sys.stderr.write(f"{failure}\n")
        if "-v" in flags or "--verbose" in flags:
            import traceback

            traceback.print_exception(error)
        if "--json" in flags:
            import json

            sys.stdout.write(json.dumps({"error": failure.to_json()}, indent=2) + "\n")
        sys.stdout.flush()
    except OSError:  # nobody reads, or nothing can be written: the exit code still tells
        drop_output()
    return failure.code


if __name__ == "__main__":
    sys.exit(main())

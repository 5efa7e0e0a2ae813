"""The command `fastdiff`: finds the sub-command, and turns errors into one sentence and an exit code."""

import importlib
import importlib.metadata
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from fastdiff.apps import APPS
from fastdiff.cli.exit_codes import OF_INPUTS
from fastdiff.solvers.errors import FastdiffError

COMMANDS = APPS | {
    "invert": "Invert a picture into a file, and measure the reconstruction.",
    "refine": "Finish a preview: make the same edit from the same noise, in all of its steps.",
    "rerun": "Make an edited picture again, from the record in its PNG.",
    "train": "Train the networks of an application.",
    "tune": "Fit a solver or a cache to MODEL, and measure it on held-out samples.",
    "search": "Find the best grid, solver and order of MODEL for few network calls.",
    "solvers": "List the solvers, and certify them by measurement.",
    "models": "List, download, show and verify the models that --model takes.",
}
INTERRUPTED = 130


class LazyGroup(click.Group):
    """Sub-commands are the `command` of the module `fastdiff.cli.NAME`, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return importlib.import_module(f"fastdiff.cli.{name}").command if name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=OF_INPUTS,
)
@click.version_option(importlib.metadata.version("fastdiff-toolkit"), prog_name="fastdiff")
def fastdiff() -> None:
    """Fast diffusion solvers, with applications for document clean-up, picture editing and robustness tests.

    Everything runs on this computer. Only `fastdiff models download` connects to another one.

    \b
    Examples:
      fastdiff docclean scans/
      fastdiff edit dog-face.png --prompt "dog face on a red background"
      fastdiff attack photos/
      fastdiff solvers certify unipc
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (by default that of the process) and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no text
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow a busy machine tenfold
    try:
        code = fastdiff.main(list(arguments), prog_name="fastdiff", standalone_mode=False)
        return code or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: finished outputs are whole; the same command resumes", err=True)
        return INTERRUPTED
    except FastdiffError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        click.echo(f"fastdiff: {error}", err=True)
        return error.exit_code
    except Exception as error:
        if "--debug" in arguments:
            raise
        click.echo(f"fastdiff: unexpected {type(error).__name__}: {error} (--debug shows where)", err=True)
        return 1

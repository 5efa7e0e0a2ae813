"""Shared parts of the commands that reproduce an edited picture from its PNG: rerun and refine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastdiff.cli.options import PATH, Function, option

if TYPE_CHECKING:
    from fastdiff.apps.edit.options import Options


def from_png(verb: str) -> Callable[[Function], Function]:
    """Return a decorator that adds the argument and the options of the command `verb`."""
    decorators = (
        click.argument("png", type=PATH),
        option("-o", "--out", type=PATH, help=f"A PNG file or a folder. [default: PNG-{verb}.png]", group="Output"),
        option("--force", is_flag=True, help="Replace a file that is not a result of this command.", group="Output"),
        option("--debug", is_flag=True, help="Show the traceback of an error.", group="Run"),
    )

    def decorate(function: Function) -> Function:
        for each in reversed(decorators):
            function = each(function)
        return function

    return decorate


def make(options: "Options", png: Path, verb: str, out: Path | None, force: bool, debug: bool) -> int:
    """Make the picture of these options, read from `png`, and return the exit code."""
    from fastdiff.cli.progress import LOADING, shown, status

    with status(LOADING):
        from fastdiff.apps.edit import app
    with shown(debug=debug) as watch:
        report = app.run(replace(options, out=out, force=force), watch, app.Remade(png, verb))
    (edit,) = report.edits
    said = "; ".join(filter(None, [edit.reason, *edit.missing]))
    click.echo(": ".join(filter(None, [edit.output, said])))
    return report.exit_code

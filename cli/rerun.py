"""`fastdiff rerun`."""

from pathlib import Path

import click

from fastdiff.cli.options import Command
from fastdiff.cli.png_commands import from_png, make


@click.command(cls=Command)
@from_png("rerun")
def command(png: Path, out: Path | None, force: bool, debug: bool) -> int:
    """Make an edited picture again, from what its PNG remembers.

    \b
    Example:
      fastdiff rerun fox-edit.png
    """
    from fastdiff.apps.edit.provenance import remembered

    return make(remembered(png), png, "rerun", out, force, debug)

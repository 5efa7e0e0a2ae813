"""`fastdiff rerun`."""

from pathlib import Path

import click

from fastdiff.cli.exit_codes import OF_EDITS
from fastdiff.cli.options import Command
from fastdiff.cli.png_commands import from_png, make


@click.command(cls=Command, epilog=OF_EDITS)
@from_png("rerun")
def command(png: Path, out: Path | None, force: bool, debug: bool) -> int:
    """Make an edited picture again, from the record in its PNG.

    The record names the input, the options and the digests of the files that made the picture. Another input, model or
    mask at the same path is refused.

    \b
    Example:
      fastdiff rerun fox-edit.png
    """
    from fastdiff.apps.edit.provenance import remembered

    return make(remembered(png), png, "rerun", out, force, debug)

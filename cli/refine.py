"""`fastdiff refine`."""

from pathlib import Path

import click

from fastdiff.cli.exit_codes import OF_EDITS
from fastdiff.cli.options import Command
from fastdiff.cli.png_commands import from_png, make


@click.command(cls=Command, epilog=OF_EDITS)
@from_png("refine")
def command(png: Path, out: Path | None, force: bool, debug: bool) -> int:
    """Finish a preview: make the same edit from the same noise, in all of its steps.

    PNG is a preview that `fastdiff edit --preview` wrote. The preview itself stays.

    \b
    Example:
      fastdiff edit fox.png --prompt "owl on a teal background" --preview --n 8
      fastdiff refine fox-preview-3.png
    """
    from fastdiff.apps.edit.provenance import refined

    return make(refined(png), png, "refine", out, force, debug)

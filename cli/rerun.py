"""`fastdiff rerun`."""

from dataclasses import replace
from pathlib import Path

import click

from fastdiff.cli.options import PATH, Command, option


@click.command(cls=Command)
@click.argument("png", type=PATH)
@option("-o", "--out", type=PATH, help="A PNG or a folder [default: PNG-rerun.png beside it].", group="Output")
@option("--force", is_flag=True, help="Replace a file of others.", group="Output")
@option("--debug", is_flag=True, help="Show where an error came from.", group="Run")
def command(png: Path, out: Path | None, force: bool, debug: bool) -> int:
    """Make an edited picture again, from what its PNG remembers.

    \b
    Example:
      fastdiff rerun fox-edit.png
    """
    from fastdiff.apps.edit import app
    from fastdiff.cli.progress import shown

    options = app.remembered(png)
    target = out or png.with_name(f"{png.stem}-rerun.png")
    with shown(debug=debug) as watch:
        report = app.run(replace(options, out=target, force=options.force or force), watch)
    click.echo(report.edits[0].output or report.edits[0].reason)
    return report.exit_code

"""`fastdiff edit`."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.cli.formatting import counted, places
from fastdiff.cli.options import PATH, Command, files, option, running

if TYPE_CHECKING:
    from fastdiff.apps.edit.app import Forecast
    from fastdiff.apps.edit.report import Report


@click.command(cls=Command)
@click.argument("inputs", nargs=-1)
@files
@option("--prompt", help="What the edited picture should show.", group="Edit")
@option("--source", help="What the picture shows [default: what the bundled recogniser sees].", group="Edit")
@option(
    "--csv",
    type=PATH,
    help="A table of edits: columns input (a path, seen from the table), prompt and perhaps source.",
    group="Edit",
)
@option("--blend", metavar="WORDS", help="Change only where these words receive attention.", group="Edit")
@option("--mask", type=PATH, help="A picture of the same size, white where something may change.", group="Edit")
@option("--emphasize", multiple=True, metavar="WORD:FACTOR", help="Such as stripes:1.5; may be repeated.", group="Edit")
@option(
    "--release",
    multiple=True,
    metavar="WORD:SHARE",
    help="Such as dog:0.4: the word keeps its own attention after that share of the steps.",
    group="Edit",
)
@option("--preview", is_flag=True, help="A first look in few steps; `fastdiff refine` finishes it.", group="Edit")
@option("--n", type=click.IntRange(1, 100), default=1, help="Variants. [default: 1]", group="Edit")
@option(
    "--model", default="scenes", help="A name, hub id or folder (fastdiff models). [default: scenes]", group="Method"
)
@option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="Settings by name [default: quick for scenes, else ledits].",
    group="Method",
)
@option("--solver", help="A solver of the core in place of the preset's inversion.", group="Method")
@option("--solver-file", type=PATH, help="One for this model and guidance (fastdiff search).", group="Method")
@option("--steps", type=click.IntRange(1, 1000), help="Of inversion and edit [default: the preset's].", group="Method")
@option("--guidance", type=float, help="How strictly to follow the prompt [default: the preset's].", group="Method")
@option(
    "--guidance-rescale",
    type=float,
    metavar="SHARE",
    help="How far to undo the contrast that guidance adds, 0 to 1 [default: 0].",
    group="Method",
)
@option(
    "--guidance-interval",
    type=(float, float),
    metavar="LOW HIGH",
    help="Guide at these times alone, from 0 to 1 at pure noise [default: always].",
    group="Method",
)
@option("--strength", type=float, help="How far to go back to noise, up to 1 [default: the preset's].", group="Method")
@option("--focus", type=float, help="Share to leave unguided (LEDITS++) [default: the preset's].", group="Method")
@option("--merge", type=float, help="Share of tokens to merge, for speed [default: the preset's].", group="Method")
@option(
    "--attempts",
    type=click.IntRange(1, 100),
    help="At most, each escalated, until the bundled model's recogniser sees the requested concept [default: the "
    "preset's; 1 with guidance or strength].",
    group="Method",
)
@option(
    "--residual/--no-residual",
    default=True,
    help="Put back what the codec loses, where nothing was edited. [default: on]",
    group="Method",
)
@option("--compile", is_flag=True, help="Compile the network: slow to begin, faster on many pictures.", group="Run")
@option("--offload", is_flag=True, help="Keep codec and text encoder off the device while they rest.", group="Run")
@running
def command(as_json: bool, dry_run: bool, debug: bool, **chosen: Any) -> int:
    """Edit pictures by prompts: what they show, and what they should show.

    Words that both prompts share keep their place. The bundled model knows emoji on plain and patterned backgrounds:
    for photographs, name a PixArt model with --model.

    \b
    Examples:
      fastdiff edit dog-face.png --prompt "dog face on a red background"
      fastdiff edit dog.jpg --source "a dog" --prompt "a cat" --model PixArt-alpha/PixArt-XL-2-512x512
      fastdiff edit dog.jpg --source "a dog" --prompt "a cat" --model my-pixart/ --blend "dog cat" --n 4
      fastdiff edit dog.jpg --source "a dog" --prompt "a cat" --model my-pixart/ --preview --n 8
      fastdiff edit --csv edits.csv --model my-pixart/
    """
    from fastdiff.apps.edit import app
    from fastdiff.cli.progress import run_command

    options = Options(**chosen)
    if dry_run:
        click.echo(_forecast(app.forecast(options)))
        return 0
    return run_command(app.run, options, _summary, debug=debug, as_json=as_json)


def _summary(report: "Report") -> str:
    """Summarise a run in one line, after notes on its pictures."""
    notes = [f"{edit.output}: {edit.reason}" for edit in report.edits if edit.status == "edited" and edit.reason]
    counts = report.summary
    where = places({edit.output for edit in report.edits if edit.output})
    return "\n".join([*notes, f"{counts['edited']} edited, {counts['failed']} failed.{where} Report: {report.path}"])


def _forecast(forecast: "Forecast") -> str:
    """Format a line for every edit, one for all, and one for inputs left out."""
    from fastdiff.apps.inputs import summary

    lines = [f"{item.source} -> {item.output}: {request.prompt}" for item, request in forecast.items]
    time = "" if forecast.seconds is None else f", about {timedelta(seconds=round(forecast.seconds))} on two cores"
    calls = f"{counted(forecast.calls, 'network call')}{time}; calls to other computers: none"
    total = f"{counted(len(lines), 'edit')} to do, {calls}"
    return "\n".join(filter(None, [*lines, total, summary(forecast.left_out)]))

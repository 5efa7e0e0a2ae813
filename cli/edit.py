"""`fastdiff edit`."""

from datetime import timedelta
from os.path import basename
from typing import TYPE_CHECKING, Any

import click

from fastdiff.apps.edit.acceleration_choice import ACCELERATIONS, BUDGET
from fastdiff.apps.edit.options import FORMATS, Options
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.cli.exit_codes import OF_EDITS
from fastdiff.cli.formatting import counted, places
from fastdiff.cli.options import PATH, Command, adapting, files, option, running
from fastdiff.models.acceleration.budget import FEWEST_STEPS

if TYPE_CHECKING:
    from fastdiff.apps.edit.app import Forecast
    from fastdiff.apps.edit.report import Report

NAMED = 5  # edits whose faults the last line names


@click.command(cls=Command, epilog=OF_EDITS)
@click.argument("inputs", nargs=-1)
@files
@option("--prompt", help="Describes the edited picture.", group="Edit")
@option(
    "--source", help="Describes the picture as it is. [default: the caption of the bundled recogniser]", group="Edit"
)
@option(
    "--csv",
    type=PATH,
    help="Table of edits with the columns input (a path relative to the table), prompt and, optionally, source.",
    group="Edit",
)
@option(
    "--negative",
    help="Describes what should not appear: guidance leads away from it. [default: the source, or nothing, by preset]",
    group="Edit",
)
@option("--unknown-words", is_flag=True, help="Go on with words that the model does not know.", group="Edit")
@option("--blend", metavar="WORDS", help="Change only the places where these words receive attention.", group="Edit")
@option(
    "--mask",
    type=PATH,
    help="Picture of the same size, white where pixels may change; or painted on a transparent layer.",
    group="Edit",
)
@option(
    "--emphasize",
    multiple=True,
    metavar="WORD:FACTOR",
    help="Multiply the attention of a word, such as stripes:1.5. May be repeated.",
    group="Edit",
)
@option(
    "--release",
    multiple=True,
    metavar="WORD:SHARE",
    help="Stop controlling the attention of a word after a share of the steps, such as dog:0.4. May be repeated.",
    group="Edit",
)
@option(
    "--preview",
    is_flag=True,
    help="Edit in few steps, for a first look. `fastdiff refine` finishes the edit.",
    group="Edit",
)
@option(
    "--format",
    type=click.Choice(FORMATS),
    help="Kind of the outputs. [default: that of --out, else png]",
    group="Output",
)
@option(
    "--metadata/--no-metadata",
    default=True,
    help="Write into each output how it was made, for rerun and refine, and the EXIF of the input. [default: on]",
    group="Output",
)
@option("--n", type=click.IntRange(1, 100), default=1, help="Number of variants. [default: 1]", group="Edit")
@option(
    "--model",
    default="scenes",
    help="Model: a name of `fastdiff models`, a hub id or a folder. [default: scenes]",
    group="Method",
)
@adapting
@option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="Settings by name. [default: quick for scenes, rf-inversion for FLUX, else ledits]",
    group="Method",
)
@option("--solver", help="Invert by this solver of `fastdiff solvers` instead of the preset's method.", group="Method")
@option(
    "--solver-file",
    type=PATH,
    help="Solver file of `fastdiff tune` or `search` for this model and guidance.",
    group="Method",
)
@option(
    "--steps", type=click.IntRange(1, 1000), help="Steps of inversion and edit. [default: the preset's]", group="Method"
)
@option("--guidance", type=float, help="Guidance scale of the edit. [default: the preset's]", group="Method")
@option(
    "--guidance-rescale",
    type=float,
    metavar="SHARE",
    help="Share of the contrast added by guidance to undo, 0 to 1. [default: 0]",
    group="Method",
)
@option(
    "--guidance-interval",
    type=(float, float),
    metavar="LOW HIGH",
    help="Times at which guidance acts, from 0 to 1 at pure noise. [default: all]",
    group="Method",
)
@option(
    "--strength",
    type=float,
    help="Share of the noise schedule that the inversion covers, 0.05 to 1. [default: the preset's]",
    group="Method",
)
@option(
    "--focus",
    type=float,
    help="Share of the picture without guidance (LEDITS++). [default: the preset's]",
    group="Method",
)
@option(
    "--merge",
    type=float,
    help="Share of tokens to merge, for speed, 0 to 0.75. [default: the preset's]",
    group="Method",
)
@option(
    "--attempts",
    type=click.IntRange(1, 100),
    help="Largest number of attempts. Each is bolder than the one before; the first that shows everything that was "
    "asked for ends them. [default: the preset's, but 1 with --guidance or --strength]",
    group="Method",
)
@option(
    "--residual/--no-residual",
    default=True,
    help="Put back what the autoencoder loses where nothing was edited. [default: on]",
    group="Method",
)
@option(
    "--accelerate",
    metavar="NAME",
    help=f"Sample faster, in {FEWEST_STEPS} steps or more without added noise: {', '.join(ACCELERATIONS)}, or a cache "
    "file of `fastdiff tune`.",
    group="Method",
)
@option(
    "--budget",
    type=float,
    metavar="SHARE",
    help=f"Aimed cost of sampling with --accelerate, a share of that without, up to 1. [default: {BUDGET:g}]",
    group="Method",
)
@option(
    "--parallel",
    type=click.IntRange(1, 1000),
    metavar="STEPS",
    help="Evaluate so many steps together, and again until they agree: faster where many rows take no longer than one.",
    group="Method",
)
@option(
    "--verify",
    is_flag=True,
    help="Sample without acceleration too, and report time and difference.",
    group="Method",
)
@option("--compile", is_flag=True, help="Compile the network: a slow start, then faster on many pictures.", group="Run")
@option("--offload", is_flag=True, help="Have one part of the model on the device at a time.", group="Run")
@running
def command(as_json: bool, dry_run: bool, debug: bool, **chosen: Any) -> int:
    """Edit pictures by prompts that describe them before and after.

    Words that both prompts share keep their place. The bundled model knows emoji on plain and patterned backgrounds.
    For photographs, give a PixArt or Stable Diffusion model by --model.

    \b
    Examples:
      fastdiff edit dog-face.png --prompt "dog face on a red background"
      fastdiff edit dog.jpg --source "a dog" --prompt "a cat" --model PixArt-alpha/PixArt-XL-2-512x512
      fastdiff edit dog.jpg --source "a dog" --prompt "a cat" --model my-pixart/ --blend "dog cat" --n 4
      fastdiff edit dog.jpg --source "a dog" --prompt "a cat" --model my-pixart/ --preview --n 8
      fastdiff edit --csv edits.csv --model my-pixart/
    """
    from fastdiff.cli.progress import LOADING, run_command, status

    with status(LOADING):
        from fastdiff.apps.edit import app

    options = Options(**chosen)
    if dry_run:
        click.echo(_forecast(app.forecast(options)))
        return 0
    return run_command(app.run, options, _summary, debug=debug, as_json=as_json)


def _summary(report: "Report") -> str:
    """Summarise a run in one line, after notes on its pictures."""
    notes = [f"{edit.output}: {edit.reason}" for edit in report.edits if edit.output and edit.reason]
    counts = report.summary
    where = places({edit.output for edit in report.edits if edit.output})
    shown = [status for status in ("edited", "partly edited", "failed") if counts[status] or status != "partly edited"]
    total = ", ".join(f"{counts[status]} {status}" for status in shown)
    missing = [
        f"{basename(edit.output or edit.input)}: {' and '.join(edit.missing)}" for edit in report.edits if edit.missing
    ]
    more = f"; {len(missing) - NAMED} more in the report" if len(missing) > NAMED else ""
    lacking = f" Missing: {'; '.join(missing[:NAMED])}{more}." if missing else ""
    saved = "".join(f" {each}" for each in [_accelerated(report)] if each)
    return "\n".join([*notes, f"{total}.{where} Report: {report.path}{lacking}{saved}"])


def _accelerated(report: "Report") -> str:
    """Say what acceleration saved and changed; nothing without acceleration."""
    runs = [edit.acceleration for edit in report.edits if edit.acceleration]
    if not runs:
        return ""
    calls, cost, seconds = (sum(run[name] for run in runs) for name in ("calls", "equivalent_calls", "seconds"))
    what = "Inversion and sampling" if runs[0]["inversion"] else "Sampling"
    told = (
        f"{what} of the kept attempts by {runs[0]['name']}: {calls} calls, at the cost of {cost:.1f}, {seconds:.1f} s"
    )
    if any("psnr" not in run for run in runs):
        return f"{told}."
    plain_calls, plain_seconds = (sum(run[name] for run in runs) for name in ("plain_calls", "plain_seconds"))
    gap, likeness = (sum(run[name] for run in runs) / len(runs) for name in ("distance", "psnr"))
    return f"{told}; without: {plain_calls} calls, {plain_seconds:.1f} s, PSNR {likeness:.1f} dB, {gap:.1%} in latents."


def _forecast(forecast: "Forecast") -> str:
    """Format a line for every edit, one for all, and one for inputs left out."""
    from fastdiff.apps.running.inputs import summary

    lines = [f"{item.source} -> {item.output}: {request.prompt}" for item, request in forecast.items]
    time = ""
    if forecast.seconds is not None and forecast.longest is not None:
        shortest, longest = (timedelta(seconds=round(each)) for each in (forecast.seconds, forecast.longest))
        time = f", about {shortest}{f' to {longest}' if longest > shortest else ''} on two cores"
    calls = f"{counted(forecast.calls, 'network call')}{time}; calls to other computers: none"
    total = f"{counted(len(lines), 'edit')} to do, {calls}"
    return "\n".join(filter(None, [*lines, total, summary(forecast.left_out)]))

"""`fastdiff tune`."""

from datetime import timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastdiff.apps.edit.acceleration_choice import BUDGET, CACHES
from fastdiff.cli.calibration import CacheSettings, calibrate
from fastdiff.cli.exit_codes import OF_ONE
from fastdiff.cli.options import PATH, Command, option
from fastdiff.cli.problem_options import open_problem, problem_options
from fastdiff.cli.progress import shown, status
from fastdiff.solvers.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastdiff.apps.tuning.tune import Result


@click.command(cls=Command, epilog=OF_ONE)
@click.argument("model")
@option("--force", is_flag=True, help="Replace a file that tuning did not write.", group="Output")
@option(
    "-o",
    "--out",
    type=PATH,
    help="File to write. [default: MODEL-SOLVER.safetensors, or MODEL-CACHE.safetensors]",
    group="Output",
)
@option(
    "--samples",
    type=click.IntRange(4),
    default=8,
    help="Number of samples to fit to. As many others give statistics, and as many measure. [default: 8]",
    group="Sampling",
)
@option(
    "--grid",
    default="auto",
    help="Grid of the steps. [default: the best one for the base solver or the teleport; time-uniform for previews]",
    group="Sampling",
)
@option("--base", help="Solver to tune. [default: unipc for dc and v3, else dpmpp-2m]", group="Sampling")
@option(
    "--solver",
    type=click.Choice(["dc", "v3", "dode", "iia", "teleport", "teleport-iia", "consistency", "consistency-gradients"]),
    help="Fitted values: dc ratios that correct estimates; dode and iia corrections of steps; v3 statistics of the "
    "network; teleport statistics of its samples; teleport-iia those and iia; consistency, for previews, a policy "
    "that weighs the last estimates, by reinforcement learning; consistency-gradients such weights, by gradients.",
    group="Sampling",
)
@option(
    "--accelerate",
    "cache",
    type=click.Choice(CACHES),
    help="Calibrate this cache of blocks instead, for `fastdiff edit --accelerate FILE` in --nfe steps of --base.",
    group="Sampling",
)
@option(
    "--budget",
    type=float,
    help=f"Aimed cost with --accelerate, a share of that without, up to 1. [default: {BUDGET:g}]",
    group="Sampling",
)
@option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Training time of --solver consistency in minutes, over all runs. [default: until the last iteration]",
    group="Sampling",
)
@problem_options("5,6,8,10")
def command(
    model: str,
    solver: str | None,
    cache: str | None,
    budget: float | None,
    calls: tuple[int, ...],
    grid: str,
    base: str | None,
    samples: int,
    minutes: float | None,
    out: Path | None,
    force: bool,
    seed: int,
    debug: bool,
    **chosen: Any,
) -> None:
    """Fit a solver or a cache to MODEL, and measure it on held-out samples.

    A solver is fitted for few network calls, a cache of blocks (--accelerate) for edits in many steps. MODEL is
    docclean, docclean-deblur, a file of such weights, or a model of `fastdiff models`. Prompts are captions for
    scenes, and empty for other models. Give the resulting file by --solver-file, or edit --accelerate; it fits this
    model only. With --solver, the same command resumes a stopped run.

    \b
    Examples:
      fastdiff tune docclean --solver dode --nfe 5,8
      fastdiff tune scenes --solver dc --guidance 4.5 --nfe 5,6,8,10
      fastdiff tune my-model/ --solver dc --prompts prompts.txt -o mine.safetensors
      fastdiff tune scenes --accelerate first-block --nfe 50 --guidance 4.5 --budget 0.5
    """
    if minutes is not None and solver is None:
        raise UsageError(f"{minutes:g} minutes without --solver consistency, which alone is trained")
    if cache is not None and solver is None:
        if len(calls) != 1 or grid != "auto" or force:
            raise UsageError(
                "a cache is calibrated for one number of steps, on the grid of edits, and replaces no other file: give "
                "--nfe 50, and neither --grid nor --force"
            )
        share = BUDGET if budget is None else budget
        settings = CacheSettings(cache, calls[0], share, base or "dpmpp-2m", samples, seed)
        calibrate(model, settings, out or Path(f"{Path(model).stem}-{cache}.safetensors"), debug, **chosen)
        return
    if solver is None or cache is not None:
        raise UsageError("give one of --solver and --accelerate")
    if budget is not None:
        raise UsageError(f"a budget of {budget:g} without --accelerate: give both, or neither")
    with status("loading the model"):
        from fastdiff.apps.tuning.tune import Tuning, run

        subject = open_problem(model, **chosen)
        target = out or Path(f"{Path(model).stem}-{solver}.safetensors")
        tuning = Tuning(subject, solver, calls, target, grid, base, samples, seed, force, minutes or inf)
        takes = timedelta(seconds=round(tuning.seconds()))
    click.echo(f"{subject.name}: guidance {subject.guidance:g}, on {subject.description}; about {takes}", err=True)
    with shown(debug=debug) as watch:
        results = run(tuning, watch)
    click.echo(f"mean distance of {samples} held-out samples to {tuning.reference[0]} calls, relative to its length")
    click.echo("\n".join(_table(results)))
    if not any(result.verdict == "better" for result in results):
        click.echo(f"tuning did not help: take the base solver, not {target}")
    click.echo(target)


def _table(results: "Sequence[Result]") -> list[str]:
    """A line for every number of calls, under a heading."""
    lines = ["calls    base   tuned          grid"]
    for result in results:
        base, tuned = (sum(errors) / len(errors) for errors in (result.base, result.tuned))
        skip = result.config.options.get("skip")
        place = f"{result.config.grid}, the first {skip} skipped" if skip else result.config.grid
        lines.append(f"{result.nfe:>5}  {base:.4f}  {tuned:.4f}  {result.verdict:<6}  {place}")
    return lines

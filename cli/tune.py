"""`fastdiff tune`."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastdiff.cli.options import PATH, Command, option
from fastdiff.cli.progress import shown
from fastdiff.cli.sampling_options import open_problem, sampling_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastdiff.apps.tuning.tune import Result


@click.command(cls=Command)
@click.argument("model")
@option("--force", is_flag=True, help="Replace a file that tuning did not make.", group="Output")
@option("-o", "--out", type=PATH, help="The solver file [default: MODEL-SOLVER.safetensors].", group="Output")
@option(
    "--samples",
    type=click.IntRange(4),
    default=8,
    help="To fit to; as many more give statistics, and as many measure. [default: 8]",
    group="Sampling",
)
@option(
    "--grid",
    default="auto",
    help="Where the steps lie [default: where the base or the teleport does best].",
    group="Sampling",
)
@option("--base", help="The solver to tune [default: unipc for dc and v3, else dpmpp-2m].", group="Sampling")
@option(
    "--solver",
    type=click.Choice(["dc", "v3", "dode", "iia", "teleport", "teleport-iia"]),
    required=True,
    help="What is fitted: dc ratios that put estimates right, dode and iia corrections of steps, v3 statistics of the "
    "network, teleport those of its samples, teleport-iia both.",
    group="Sampling",
)
@sampling_options("5,6,8,10")
def command(
    model: str,
    solver: str,
    calls: tuple[int, ...],
    grid: str,
    base: str | None,
    samples: int,
    out: Path | None,
    force: bool,
    seed: int,
    debug: bool,
    **chosen: Any,
) -> None:
    """Tune a solver to MODEL, and say on other samples whether that helps.

    MODEL is docclean, docclean-deblur, a file of such weights, or what `fastdiff models` knows. Prompts are captions
    for scenes, and empty for other models. The resulting file is for --solver-file, with this model only. The same
    command resumes a stopped run.

    \b
    Examples:
      fastdiff tune docclean --solver dode --nfe 5,8
      fastdiff tune scenes --solver dc --guidance 4.5 --nfe 5,6,8,10
      fastdiff tune my-model/ --solver dc --prompts prompts.txt -o mine.safetensors
    """
    from fastdiff.apps.tuning.tune import Tuning, run

    subject = open_problem(model, **chosen)
    target = out or Path(f"{Path(model).stem}-{solver}.safetensors")
    tuning = Tuning(subject, solver, calls, target, grid, base, samples, seed, force)
    takes = timedelta(seconds=round(tuning.seconds()))
    click.echo(f"{subject.name}: guidance {subject.guidance:g}, on {subject.description}; about {takes}", err=True)
    with shown(debug=debug) as watch:
        results = run(tuning, watch)
    click.echo(f"mean distance of {samples} held-out samples to 200 calls, relative to its length")
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

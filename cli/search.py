"""`fastdiff search`."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastdiff.cli.exit_codes import OF_ONE
from fastdiff.cli.options import PATH, Command, option
from fastdiff.cli.problem_options import open_problem, problem_options
from fastdiff.cli.progress import shown, status

if TYPE_CHECKING:
    from fastdiff.apps.tuning.search import Ranked


@click.command(cls=Command, epilog=OF_ONE)
@click.argument("model")
@option(
    "-o", "--out", type=PATH, help="Write the best configurations to a solver file, for --solver-file.", group="Output"
)
@option(
    "--samples",
    type=click.IntRange(2),
    default=8,
    help="Number of held-out samples that rank the finalists. [default: 8]",
    group="Sampling",
)
@problem_options("5,6,8,10")
def command(
    model: str, out: Path | None, calls: tuple[int, ...], samples: int, seed: int, debug: bool, **chosen: Any
) -> None:
    """Find the best grid, solver and order of MODEL for few network calls.

    MODEL is docclean, docclean-deblur, a file of such weights, or a model of `fastdiff models`. The search tries all
    grids with two solvers on four samples, then all solvers on the two best grids. It ranks the best six on held-out
    samples, by their distance to a run of 200 calls, beside accelerated runs of more steps at the same cost. Prompts
    are captions for scenes, and empty for other models.

    \b
    Examples:
      fastdiff search docclean --nfe 5..12
      fastdiff search scenes --guidance 4.5 --nfe 5,8 -o scenes.safetensors
      fastdiff search my-model/ --prompts prompts.txt
    """
    with status("loading the model"):
        from fastdiff.apps.running.folder_locks import FolderLocks
        from fastdiff.apps.tuning.measure import REFERENCE, reference_config
        from fastdiff.apps.tuning.search import Search, check_output, write
        from fastdiff.models.acceleration.budget import FEWEST_STEPS
        from fastdiff.models.sampling_problem import RESTORERS

        search = Search(open_problem(model, **chosen), calls, samples, seed)
        subject = search.subject
        takes = timedelta(seconds=round(search.seconds()))
    click.echo(f"{subject.name}: guidance {subject.guidance:g}, on {subject.description}; about {takes}", err=True)
    with FolderLocks() as locks:
        if out is not None:
            locks.add([out.parent])
            check_output(out)
        with shown(debug=debug) as watch:
            ranking = search.run(watch)
        reference = f"{REFERENCE} calls of {reference_config(subject.schedule)}"
        distance = f"mean distance of {samples} held-out samples to {reference}, relative to its length"
        click.echo(f"{distance}; = is even with the best")
        for count, found in ranking.items():
            click.echo(f"{count} calls")
            click.echo("\n".join(_line(each, found.finalists[0]) for each in found.finalists))
            for name, reason in found.left_out.items():
                click.echo(f"  without {name}: {reason}")
        if min(calls) < FEWEST_STEPS:
            click.echo(
                f"accelerated runs of more steps are tried from {FEWEST_STEPS} calls on: below, nothing is left to save"
            )
        if out is None:
            click.echo("give -o FILE to keep the winners: docclean and edit take them by --solver-file FILE")
        else:
            write(search, ranking, out)
            restores = model in RESTORERS or Path(model).is_file()
            way = f"--calls {calls[0]}" if restores else f"--guidance {subject.guidance:g} --steps {calls[0]}"
            click.echo(f"the winners are in {out}: use them by --solver-file {out} {way}")


def _line(ranked: "Ranked", best: "Ranked") -> str:
    """Format a result, such as `  0.0512 = unipc, order 2, on karras`."""
    runs = ranked.acceleration
    more = f", {runs.name} in {runs.steps} steps at the cost of {runs.cost:.1f}" if runs else ""
    return f"  {ranked.mean:.4f} {'=' if ranked is not best and ranked.even(best) else ' '} {ranked.config}{more}"

"""`fastdiff solvers`: what there is, and whether it keeps its promises."""

from typing import TYPE_CHECKING, Any

import click

from fastdiff.cli.exit_codes import OF_ONE, exit_codes
from fastdiff.cli.formatting import counted
from fastdiff.cli.options import Command, option
from fastdiff.solvers.validation import check_name

if TYPE_CHECKING:
    from fastdiff.solvers.certificates import Problem
    from fastdiff.solvers.integration import Solver

SOME_FAILED = 4
STEPS = 4  # of a run of a network
ITEMS = 2  # of its batch
TOLERANCE = 1e-3  # between single precision runs that should agree, relative to the largest element
MARKS = {True: "PASS", False: "FAIL", None: "-"}
NOTES = """
order: of the formula; `certify` measures the order of convergence. calls: of the network, a step. \
SDE: the solver adds noise.
Every solver takes networks that predict eps, x0, v or flow: what they say becomes an estimate of signal and noise \
before a solver sees it."""
FITTED = """
Fitted to one model by `fastdiff tune`, at one call a step; given by --solver-file. v3 inverts as well, the others \
only sample."""
GRIDS = """
The names are those of web interfaces, of diffusers, and of k-diffusion and ComfyUI. What they add to a name is a grid \
here: DPM++ 2M Karras is dpmpp-2m on the grid karras."""
WITHOUT_BASE = ("v3", "consistency", "consistency-gradients")  # tuned solvers that no other solver is inside
debugging = option("--debug", is_flag=True, help="Show the traceback of an error.", group="Run")


@click.group(invoke_without_command=True, epilog=OF_ONE)
@click.pass_context
def command(context: click.Context) -> None:
    """List the solvers, and certify them by measurement.

    Without a sub-command, lists them.

    \b
    Examples:
      fastdiff solvers
      fastdiff solvers certify unipc
      fastdiff solvers certify --model scenes
    """
    if context.invoked_subcommand is None:
        context.invoke(show_all, debug=False)


@command.command("list", cls=Command, short_help="List the solvers.", epilog=OF_ONE)
@debugging
def show_all(debug: bool) -> None:
    """List the solvers with order, network calls per step, direction, paper, and their names in other tools.

    \b
    Example:
      fastdiff solvers list
    """
    from rich.console import Console
    from rich.table import Table

    from fastdiff.solvers.metadata import METADATA, TUNED_PAPERS
    from fastdiff.solvers.registry import SOLVERS
    from fastdiff.solvers.tuned import TUNED

    facts = Table("solver", "order", "calls", "kind", "inverts", "paper", "arXiv", box=None, pad_edge=False)
    names = Table("solver", "elsewhere", box=None, pad_edge=False)
    for name, make in SOLVERS.items():
        facts.add_row(name, *_properties(make()), *METADATA[name].paper)
        names.add_row(name, "; ".join(METADATA[name].aliases) or "-")
    tuned = Table("tuned", "around", "papers", box=None, pad_edge=False)
    for name, kind in TUNED.items():
        papers = "\n".join(" ".join(paper) for paper in TUNED_PAPERS[name])
        tuned.add_row(name, "-" if name in WITHOUT_BASE else kind.options["base"], papers)
    console = Console(highlight=False, markup=False)
    for part in (facts, NOTES, "", tuned, FITTED, "", names, GRIDS):
        console.print(part)


@command.command(
    cls=Command,
    short_help="Measure what solvers promise.",
    epilog=exit_codes("A solver broke a promise."),
)
@click.argument("name", required=False)
@option("--model", help="Certify on the network of this model, named as for `fastdiff search`.", group="Method")
@debugging
def certify(name: str | None, model: str | None, debug: bool) -> int:
    """Measure whether the solver NAME, or every solver, keeps its promises.

    Runs on problems with closed-form answers: order of convergence, finite results on every grid, network calls per
    step, the same bits in any batch and any thread, gradients, and the round trip. With --model, runs the checks that a
    network allows: a batch of 2 in 4 steps, in float32.

    \b
    Examples:
      fastdiff solvers certify unipc
      fastdiff solvers certify --model scenes
    """
    import torch

    from fastdiff.inversion.certificates import candidate, certify as certificates_of
    from fastdiff.solvers.registry import SOLVERS

    if name is not None:
        check_name("solver", name, SOLVERS)
    problem = None if model is None else _problem(model)
    outcomes: list[bool | None] = []
    click.echo(_line("solver", "certificate", "", "measured", "expected"))
    for each in SOLVERS if name is None else (name,):
        with torch.inference_mode(problem is not None):
            for kind, verdict in certificates_of(*candidate(each), problem):
                click.echo(_line(each, kind, MARKS[verdict.passed], verdict.measured, verdict.expected))
                outcomes.append(verdict.passed)
    click.echo(f"{counted(outcomes.count(True), 'certificate')} passed, {outcomes.count(False)} failed")
    return SOME_FAILED if False in outcomes else 0


def _properties(solver: "Solver[Any]") -> tuple[str, str, str, str]:
    from fastdiff.solvers.certificates import inverts

    kind = "SDE" if solver.stochastic else "ODE"
    return str(solver.order or "-"), str(solver.nfe_per_step), kind, "yes" if inverts(solver) else "no"


def _problem(model: str) -> "Problem":
    """A run of a few steps of the model's network, over its own schedule."""
    import torch

    from fastdiff.apps.device import resolve_device
    from fastdiff.models.sampling_problem import load_sampling_problem
    from fastdiff.solvers.certificates import Problem
    from fastdiff.solvers.grids import grid, time_uniform

    problem = load_sampling_problem(model, device=resolve_device("auto", "float32")[0])
    with torch.inference_mode():
        f, x = problem.batch(range(ITEMS))
        items = tuple(problem.batch((item,))[0] for item in range(ITEMS))
    return Problem(f, x, grid(time_uniform, problem.schedule, STEPS, problem.clean), TOLERANCE, items)


def _line(solver: str, certificate: str, mark: str, measured: str, expected: str) -> str:
    return f"{solver:15} {certificate:13} {mark:4} {measured:25} {expected}".rstrip()

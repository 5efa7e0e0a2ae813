"""Certificates of inversion, and the list of certificates: on closed-form problems, and on a network."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from math import isfinite, log2, sqrt
from typing import Any

from torch import Tensor

from fastdiff.inversion.anderson import Anderson
from fastdiff.inversion.edit_friendly import EditFriendly
from fastdiff.inversion.fixed_point import FixedPoint
from fastdiff.inversion.inversion import Inverter, invert
from fastdiff.inversion.reversed import Reversed
from fastdiff.solvers.certificates import (
    CLOSE,
    CLOSED_FORM,
    FINE,
    Candidate,
    CheckResult,
    Problem,
    batches,
    eased,
    ends,
    finite,
    gradient,
    inverts,
    nfe,
    normal,
    order,
    threads,
)
from fastdiff.solvers.closed_form import MIXTURE, Gaussian
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid, grid, time_part
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integration import Solver, integrate, is_recordable
from fastdiff.solvers.metadata import METADATA
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import LinearVP

EXACT = 1e-10  # largest relative reconstruction error in double precision


def candidate(name: str) -> Candidate:
    """Return the registered solver with this name, and its order of convergence."""
    claimed = METADATA[name].convergence_order
    return Candidate(SOLVERS[name], SOLVERS[name]().order if claimed is None else claimed)


def round_trip(candidate: Candidate) -> CheckResult:
    """Check that the error of inversion by the solver itself falls with the step size, on Gaussian data."""
    if not inverts(candidate.make()):
        return CheckResult(None, "it only samples", "")
    f = Gaussian(LinearVP())
    pictures, grids = f.mean + sqrt(f.variance) * normal(2, 8), [grid(eased, f.schedule, steps) for steps in FINE]
    coarse, fine = (_residual(f, pictures, Reversed(candidate.make()), levels) for levels in grids)
    slope = log2(coarse / fine)
    return CheckResult(slope >= candidate.order - CLOSE, f"{slope:.2f}", f"{candidate.order - CLOSE} or more")


def exact_inverse(candidate: Candidate) -> CheckResult:
    """Check that few steps reconstruct pictures, if a method inverts the solver's own steps exactly."""
    inverter = _exact(candidate.make())
    if inverter is None:
        return CheckResult(None, "no method has it", "")
    pictures = integrate(MIXTURE, Heun(), CLOSED_FORM.x[:2, :8], grid(eased, MIXTURE.schedule, 40)).x
    off = _residual(MIXTURE, pictures, inverter, CLOSED_FORM.grid)
    return CheckResult(off <= EXACT, f"{off:.1e} off, {type(inverter).__name__}", f"at most {EXACT:.0e}")


def reconstruction(candidate: Candidate, problem: Problem) -> CheckResult:
    """Measure the reconstruction error of a network's samples from half noise; by recorded noise if stochastic."""
    solver = candidate.make()
    inverter: Inverter
    if is_recordable(solver):
        inverter = EditFriendly(solver)
    elif inverts(solver):
        inverter = Reversed(solver)
    else:
        return CheckResult(None, "it only samples", "")
    half = time_part(problem.f.schedule, 0.5, len(problem.grid) - 1)
    levels = tuple(level for level in half if isfinite(level.lam))
    off = _residual(problem.f, problem.run(solver, problem.x), inverter, levels)
    return CheckResult(None, f"{off:.1e} off, {type(inverter).__name__}", "")


def _exact(solver: Solver[Any]) -> Inverter | None:
    if solver.stochastic:
        return EditFriendly(solver) if is_recordable(solver) else None
    return FixedPoint(solver, Anderson(EXACT / 10)) if solver.one_step else None


def _residual(f: Denoiser, pictures: Tensor, inverter: Inverter, levels: Grid) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the residual shows unsolved steps
        residual = invert(f, pictures, levels, inverter).residual
    assert residual is not None
    return residual.max().item()


CERTIFICATES: Mapping[str, Callable[[Candidate], CheckResult]] = {
    "order": order,
    "finite": finite,
    "nfe": nfe,
    "batches": batches,
    "threads": threads,
    "gradient": gradient,
    "round trip": round_trip,
    "exact inverse": exact_inverse,
}
ON_A_NETWORK: Mapping[str, Callable[[Candidate, Problem], CheckResult]] = {
    "finite": ends,
    "nfe": nfe,
    "batches": batches,
    "threads": threads,
    "round trip": reconstruction,
}


def certify(
    make: Callable[..., Solver[Any]], order: int | None = None, problem: Problem | None = None
) -> Iterator[tuple[str, CheckResult]]:
    """Yield the name and the result of every certificate of a solver, one of your own too.

    `make` returns the solver, and takes `noise` if it is stochastic. `order` is the order of convergence to expect on
    smooth grids, by default the solver's `order`; 0 expects none. With a `problem`, such as the run of a network, only
    the certificates that need no closed form are measured, on it.
    """
    certified = Candidate(make, make().order if order is None else order)
    if problem is None:
        yield from ((name, check(certified)) for name, check in CERTIFICATES.items())
    else:
        yield from ((name, check(certified, problem)) for name, check in ON_A_NETWORK.items())

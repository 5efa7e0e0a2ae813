"""Certificates: measurements of what a solver promises, and whether they agree with the promise.

Certificates that need a closed-form answer run on closed-form problems; the others run on any denoiser, including a
network. Problems, states and noise are fixed, so a certificate is the same in every run.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from math import log2, sqrt
from threading import Barrier
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastdiff.solvers.closed_form import MIXTURE, MIXTURE_END, MIXTURE_START, SCHEDULES, Gaussian
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, grid, log_snr, time_uniform
from fastdiff.solvers.integration import Progress, Solver, integrate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import Flow, LinearVP, Schedule
from fastdiff.solvers.spacings import SPACINGS

STEPS = (1, 2, 3, 4, 6, 16)  # of the runs that must stay finite
FINE = (320, 640)  # steps between which the order is measured
CLOSE = 0.15  # between a measured order and the claimed one


class CheckResult(NamedTuple):
    """Result of a certificate. `passed` is None for a measurement without a requirement, and if nothing applies."""

    passed: bool | None
    measured: str
    expected: str


class Candidate(NamedTuple):
    """A solver to certify, with the order of convergence to expect (weak order if stochastic; 0: none)."""

    make: Callable[..., Solver[Any]]  # takes `noise` if the solver is stochastic
    order: int


@dataclass(frozen=True)
class Problem:
    """A run to certify solvers on."""

    f: Denoiser
    x: Tensor  # (B, ...) at the first level of the grid, B of 2 or more
    grid: Grid
    tolerance: float = 0.0  # of runs that should agree, relative to the largest element; 0: bitwise
    items: tuple[Denoiser, ...] = ()  # denoiser of each single item, if f takes B rows only

    def run(self, solver: Solver[Any], x: Tensor, watch: Callable[[Progress], None] | None = None) -> Tensor:
        return integrate(self.f, solver, x, self.grid, watch=watch).x

    def run_alone(self, solver: Solver[Any], i: int) -> Tensor:
        return integrate(self.items[i] if self.items else self.f, solver, self.x[i : i + 1], self.grid).x

    def agreement(self, pairs: list[tuple[Tensor, Tensor]]) -> CheckResult:
        """Check that both tensors of each pair agree."""
        worst = max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
        same = all(torch.equal(a, b) for a, b in pairs)
        expected = f"at most {self.tolerance:.0e}" if self.tolerance else "the same bits"
        return CheckResult(
            same or worst <= self.tolerance > 0, "the same bits" if same else f"{worst:.1e} off", expected
        )


def inverts(solver: Solver[Any]) -> bool:
    """True if the solver runs over rising noise."""
    if solver.stochastic:
        return False
    try:
        solver.init(CLOSED_FORM.grid[::-1])
    except UsageError:
        return False
    return True


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


CLOSED_FORM = Problem(MIXTURE, normal(4, 64), grid(log_snr, MIXTURE.schedule, 8))


def eased(schedule: Schedule, count: int) -> Grid:
    """Return levels whose strides of lam rise from zero and fall to zero, by s^2 (3 - 2 s).

    The errors of the first steps, which lack history, and of the last steps, which lower the order, are then of fourth
    order.
    """
    top, bottom = schedule.level(schedule.start).lam, schedule.level(schedule.end).lam
    shares = (i / (count - 1) for i in range(count))
    return tuple(schedule.at(top + (bottom - top) * s * s * (3 - 2 * s)) for s in shares)


def order(candidate: Candidate) -> CheckResult:
    """Measure the order of convergence on a mixture with known flow; of mean and variance on a Gaussian if stochastic.

    Deterministic solvers run in both directions if they invert. The moments are exact too: on Gaussian data the steps
    are affine in the state and in the noises, so each noise gets a row of its own.
    """
    if not candidate.order:
        return CheckResult(None, "not made to converge", "")
    if candidate.make().stochastic:
        ways = [[_moment_error(candidate, steps) for steps in FINE]]
    else:
        runs = [(MIXTURE_START, MIXTURE_END, 1), (MIXTURE_END, MIXTURE_START, -1)][: 1 + inverts(candidate.make())]
        ways = [[_error(candidate, steps, *run) for steps in FINE] for run in runs]
    slopes = [log2(coarse / fine) if fine else 0.0 for coarse, fine in ways]
    passed = all(abs(slope - candidate.order) <= CLOSE for slope in slopes)
    return CheckResult(passed, " and ".join(f"{slope:.2f}" for slope in slopes), f"{candidate.order} within {CLOSE}")


def _error(candidate: Candidate, steps: int, first: float, last: float, direction: int) -> float:
    levels = grid(eased, MIXTURE.schedule, steps)[::direction]
    x = torch.full((1,), first, dtype=torch.float64)
    return abs(integrate(MIXTURE, candidate.make(), x, levels).x.item() - last)


def _moment_error(candidate: Candidate, steps: int) -> float:
    f = Gaussian(LinearVP())
    levels = grid(eased, f.schedule, steps)
    rows = torch.eye(steps + 2, dtype=torch.float64)  # none, the noise of each step, and that of the start
    x = levels[0].alpha * f.mean + sqrt(f.total(levels[0])) * rows[:, -1:]
    solver = candidate.make(noise=lambda like, step: rows[:, step : step + 1])
    mean, *parts = map(float, integrate(f, solver, x, levels).x.flatten())
    variance = sum((part - mean) ** 2 for part in parts)
    return abs(mean - levels[-1].alpha * f.mean) + abs(variance - f.total(levels[-1]))


def finite(candidate: Candidate) -> CheckResult:
    """Check that runs of few and many steps over every spacing and schedule are finite in single precision.

    Runs include the step to sigma 0. Solvers that invert run in both directions, and reach levels without signal.
    """
    grids = [(schedule, levels) for schedule in SCHEDULES.values() for levels in _grids(schedule)]
    whole = Flow(start=1.0, end=0.0)
    grids += [(whole, grid(time_uniform, whole, steps)) for steps in STEPS]
    if inverts(candidate.make()):
        grids += [(schedule, levels[::-1]) for schedule, levels in grids if levels[-1].sigma]
        noise = Flow(start=1.0)
        grids += [(noise, grid(time_uniform, noise, steps)[::-1]) for steps in STEPS]
    bad = sum(not _ends_finite(candidate.make(), schedule, levels) for schedule, levels in grids)
    return CheckResult(not bad, f"{bad} of {len(grids)} runs not finite", "none")


def _grids(schedule: Schedule) -> list[Grid]:
    made = []
    for spacing, steps, clean in product(dict.fromkeys(SPACINGS.values()), STEPS, (False, True)):
        with suppress(UsageError):  # of spacings for other schedules or numbers of steps
            made.append(grid(spacing, schedule, steps, clean))
    return made


def _ends_finite(solver: Solver[Any], schedule: Schedule, levels: Grid) -> bool:
    x = levels[0].alpha + max(levels[0].sigma, 0.5) * normal(2, 3, dtype=torch.float32)
    try:
        return bool(integrate(Gaussian(schedule), solver, x, levels).x.isfinite().all())
    except (ArithmeticError, ValueError):  # of Python's floats, which do not become NaN
        return False


def gradient(candidate: Candidate, problem: Problem = CLOSED_FORM) -> CheckResult:
    """Compare the directional derivative of the end by the start: autograd against central differences."""
    solver, stride = candidate.make(), 1e-6
    x, direction, weight = problem.x, normal(*problem.x.shape).flip(0), normal(*problem.x.shape).flip(1)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((weight * problem.run(solver, leaf)).sum(), leaf)
    ahead, behind = (problem.run(solver, x + side * stride * direction) for side in (1, -1))
    computed, measured = slope * direction, weight * (ahead - behind) / (2 * stride)
    off = ((computed.sum() - measured.sum()).abs() / computed.abs().sum()).item()
    return CheckResult(off <= 1e-6, f"{off:.1e} off", "at most 1e-06")


def nfe(candidate: Candidate, problem: Problem = CLOSED_FORM) -> CheckResult:
    """Count network evaluations of a run. A step to a level without noise may cost less."""
    solver, counted = candidate.make(), CountingDenoiser(problem.f)
    replace(problem, f=counted).run(solver, problem.x)
    steps = len(problem.grid) - 1
    saving = 0 if problem.grid[-1].sigma else solver.nfe_per_step - 1
    low, high = steps * solver.nfe_per_step - saving, steps * solver.nfe_per_step
    expected = f"{high}" if low == high else f"{low} to {high}"
    return CheckResult(low <= counted.tally.nfe <= high, f"{counted.tally.nfe} for {steps} steps", expected)


def batches(candidate: Candidate, problem: Problem = CLOSED_FORM) -> CheckResult:
    """Compare items solved together with items solved one at a time, each with its own noise."""
    together = problem.run(candidate.make(), problem.x)
    alone = [problem.run_alone(_for_item(candidate, i), i) for i in range(len(problem.x))]
    return problem.agreement([(torch.cat(alone), together)])


def _for_item(candidate: Candidate, i: int) -> Solver[Any]:
    return candidate.make(noise=Noise(0, (i,))) if candidate.make().stochastic else candidate.make()


def threads(candidate: Candidate, problem: Problem = CLOSED_FORM) -> CheckResult:
    """Compare two concurrent runs of one solver object, synchronized after every step, with single runs."""
    solver, starts = candidate.make(), [problem.x, -problem.x]
    alone = [problem.run(solver, x) for x in starts]
    barrier = Barrier(len(starts))

    def meet(progress: Progress) -> None:
        barrier.wait()

    def run(x: Tensor) -> Tensor:
        try:
            return problem.run(solver, x, meet)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(len(starts)) as pool:
        together = list(pool.map(run, starts))
    return problem.agreement(list(zip(together, alone, strict=True)))


def ends(candidate: Candidate, problem: Problem) -> CheckResult:
    """Check that a run on a network ends finite, and report its standard deviation."""
    x = problem.run(candidate.make(), problem.x)
    return CheckResult(bool(x.isfinite().all()), f"deviation {x.std().item():.3g}", "finite")

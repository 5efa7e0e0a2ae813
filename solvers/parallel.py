"""ParaDiGMS (Shih et al. 2023, arXiv 2305.16317): evaluates the steps of a run together, and again until they agree.

Picard iteration freezes the derivative of the sampling equation along a guess of the trajectory, and integrates it.
Here the solver integrates: a sweep runs it, step by step, over a window of the grid, on frozen estimates in place of
those of a network. Then one batched evaluation estimates the states of this sweep, for the next one. A sweep passes the
solver state from step to step as a sequential run does. Multistep solvers thus interpolate, and correctors correct,
estimates of the iterate alone.

Where a sweep visits another state of the same level, the frozen estimate moves as that of data of variance 1. On
variance-preserving schedules this freezes v = alpha eps - sigma x0, the derivative of the state by the angle
atan(sigma / alpha); for DDIM the iteration then agrees with the paper's, which freezes step(x) - x, to first order in
the step. The paper's form diverges around correctors, because their steps start from a corrected state instead of x.
Steps that enter the window start from the last estimate before them.

The sequential run is the only fixed point. The first step of a window starts from a final state, so it is final after
as many rounds as it has evaluations, and the window moves on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import expm1, sqrt
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from fastdiff.solvers.denoiser import Denoiser, SingleLevelDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.integration import Solver, Step, check_run, steps_of
from fastdiff.solvers.readback import read_back
from fastdiff.solvers.rows import choose_estimates, choose_rows
from fastdiff.solvers.schedule import Level, Schedule

S = TypeVar("S")


class ParallelRun(NamedTuple):
    """Result of a parallel run."""

    x: Tensor  # (B, ...) state at the last noise level
    rounds: int  # batched evaluations, one after another
    evaluations: int  # of each item, in all rounds


class Evaluation(NamedTuple):
    """A state with its estimate."""

    x: Tensor  # (B, ...)
    level: Level
    estimate: Estimate


class SweptStep(NamedTuple, Generic[S]):
    """A step of a sweep."""

    x: Tensor  # (B, ...) state at its end
    state: S  # solver state after it
    visited: Sequence[tuple[Tensor, Level]] = ()  # states (B, ...) that the solver evaluated


Known = Mapping[int, Sequence[Evaluation]]  # evaluations by number of the step, in the order of the step's calls


def integrate_parallel(
    f: Denoiser, solver: Solver[S], x: Tensor, grid: Sequence[Level], *, window: int = 16, tolerance: float = 0.1
) -> ParallelRun:
    """Run a deterministic solver over the grid, from x (B, ...) at its first noise level to its last.

    A round evaluates all states of up to `window` steps in one batch. A step is final once the states that it evaluates
    lie within `tolerance` of states whose estimates it uses, as root mean square over an item, in standard deviations
    of the noise that a DDPM step to their level adds. Tolerance 0 gives the sequential run. Every item has a window of
    its own, so that no item changes another item's result; a round covers the windows of all items. A denoiser that is
    not `batched` gives the same result without a gain.

    Raises UsageError for a `sequential` denoiser, for a stochastic solver, for one whose steps choose how many states
    they evaluate, for a window that is no whole number of 1 or more, for a tolerance below 0, and as `integrate`.
    """
    levels = tuple(grid)
    check_run(levels, solver)
    if solver.stochastic:
        raise UsageError(f"a parallel run of {type(solver).__name__}, which adds noise: give a deterministic solver")
    if f.sequential:
        raise UsageError(
            f"a parallel run of {type(f).__name__}, whose estimates depend on earlier calls: run its steps in order"
        )
    if not isinstance(window, int) or window < 1 or not tolerance >= 0:
        raise UsageError(
            f"a window of {window} steps with tolerance {tolerance}: give a whole number of 1 or more, and 0 or more"
        )
    if not len(x):
        return ParallelRun(x, 0, 0)
    f, steps = f.fresh(), steps_of(levels)
    final = evaluated = torch.zeros(len(x), dtype=torch.long, device=x.device)  # (B,) first step that is not
    known: Known = {}
    base, last, reached = 0, 0, SweptStep(x, solver.init(levels))
    rounds = evaluations = 0
    while True:
        swept = _sweep(f.schedule, solver, steps[base : last + window], reached, known, evaluated)
        final = _final(final, evaluated, steps, dict(enumerate(swept, base)), known, tolerance)
        reading = read_back(final)
        first, last = min(reading), min(max(reading) + window, len(steps))
        if first == len(steps):
            return ParallelRun(swept[-1].x, rounds, evaluations)
        evaluated = (final + window).clamp(max=len(steps))
        visited = {step: swept[step - base].visited for step in range(first, last)}
        known = _evaluate(f, visited, known, final, evaluated)
        count = sum(map(len, visited.values()))
        rounds, evaluations = rounds + (count > 0), evaluations + count
        base, reached = first, swept[first - base - 1] if first > base else reached


@dataclass(frozen=True)
class FrozenDenoiser(SingleLevelDenoiser):
    """The denoiser of one step of a sweep.

    Answers the n-th call from the n-th of `known` for items in `rows` (B,), and from `guess` for the others. Records
    the states and levels of its calls in `visited`.
    """

    schedule: Schedule
    known: Sequence[Evaluation]
    rows: Tensor
    guess: Estimate
    visited: list[tuple[Tensor, Level]] = field(default_factory=list)

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        number = len(self.visited)
        self.visited.append((x, level))
        guess = _moved(self.guess, x - level.alpha * self.guess.x0 - level.sigma * self.guess.eps, level)
        if number >= len(self.known):
            return guess
        return choose_estimates(self.rows, _moved(self.known[number].estimate, x - self.known[number].x, level), guess)

    def fresh(self) -> "FrozenDenoiser":
        return self


def _moved(estimate: Estimate, change: Tensor, level: Level) -> Estimate:
    """Return the estimate after a change (B, ...) of the state, for independent data of variance 1."""
    total = level.alpha**2 + level.sigma**2
    x0, eps = estimate
    return Estimate(torch.add(x0, change, alpha=level.alpha / total), torch.add(eps, change, alpha=level.sigma / total))


def _sweep(
    schedule: Schedule,
    solver: Solver[S],
    steps: Sequence[Step],
    reached: SweptStep[S],
    known: Known,
    evaluated: Tensor,
) -> list[SweptStep[S]]:
    """Run the solver over the steps, on known estimates, and on the last known one beyond them."""
    before = known.get(steps[0].index - 1)
    guess = before[-1].estimate if before else Estimate(torch.zeros_like(reached.x), torch.zeros_like(reached.x))
    swept = [reached]
    for step in steps:
        frozen = FrozenDenoiser(schedule, known.get(step.index, ()), step.index < evaluated, guess)
        x, state = solver.step(frozen, swept[-1].x, step, swept[-1].state)
        if step.index in known and len(frozen.visited) != len(frozen.known):
            raise UsageError(f"a parallel run of {type(solver).__name__}, whose steps vary in their evaluations")
        swept.append(SweptStep(x, state, frozen.visited))
        if frozen.known:
            guess = choose_estimates(frozen.rows, frozen.known[-1].estimate, guess)
    return swept[1:]


def _final(
    final: Tensor,
    evaluated: Tensor,
    steps: Sequence[Step],
    swept: Mapping[int, SweptStep[Any]],
    known: Known,
    tolerance: float,
) -> Tensor:
    """Return the first step (B,) of each item that is not final after this sweep."""
    for index, step in swept.items():
        close = index < evaluated
        for (x, level), evaluation in zip(step.visited, known.get(index, ()), strict=False):
            origin = steps[index if level != steps[index].t else max(index - 1, 0)].t
            gap = (x - evaluation.x).reshape(len(x), -1).square().mean(1).sqrt()
            close = close & ~(gap > tolerance * _noise_added(origin, level))  # what is not a number stays so
        final = torch.where(close & (final == index), index + 1, final)
    return final


def _noise_added(t: Level, u: Level) -> float:
    """Return the standard deviation of the noise that DDPM adds between two levels: sampling, or adding noise."""
    return u.sigma * sqrt(-expm1(-2 * abs(u.lam - t.lam))) if u != t else 0.0


def _evaluate(
    f: Denoiser,
    visited: Mapping[int, Sequence[tuple[Tensor, Level]]],
    known: Known,
    final: Tensor,
    evaluated: Tensor,
) -> Known:
    """Evaluate visited states in one batch. Items keep the evaluations that they have outside their windows."""
    calls = [call for each in visited.values() for call in each]  # none in steps such as those of a teleport
    estimates = iter(f.at_levels(torch.stack([x for x, _ in calls]), [level for _, level in calls]) if calls else ())
    found = {index: each for index, each in known.items() if index == min(visited) - 1}  # the first guess
    for index, each in visited.items():
        new = [Evaluation(x, level, next(estimates)) for x, level in each]
        inside = (index >= final) & (index < evaluated)
        found[index] = [_merged(inside, *pair) for pair in zip(new, known.get(index, new), strict=True)]
    return found


def _merged(inside: Tensor, new: Evaluation, old: Evaluation) -> Evaluation:
    x = choose_rows(inside, new.x, old.x)
    return Evaluation(x, new.level, choose_estimates(inside, new.estimate, old.estimate))

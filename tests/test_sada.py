"""SADA: the solver itself where nothing is skipped, trajectories in closed form, batches, and what it refuses."""

from collections.abc import Callable
from dataclasses import dataclass
from math import atan2, log2, sin

import pytest
import torch
from problems import MIXTURE, SCHEDULES, Gaussian, Mixture, random_state

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser, SingleLevelDenoiser
from fastdiff.solvers.dpm_solver import dpm_2, dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import from_v
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sada import INTEGRAL, SADA, VALUE, Track
from fastdiff.solvers.schedule import LinearVP
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.unipc import UniPC
from fastdiff.solvers.with_teleport import WithTeleport

STEPS = 50
TOP = 1.5  # angle near which runs begin


@dataclass(frozen=True)
class Drift(SingleLevelDenoiser):
    """States whose derivative by the angle depends on the angle alone."""

    slope: Callable[[float], float]
    schedule = LinearVP()

    def __call__(self, x, level):
        return from_v(torch.full_like(x, self.slope(atan2(level.sigma, level.alpha))), x, level)

    def fresh(self):
        return self


def run(f, solver, x=None, spacing=log_snr, steps=STEPS):
    """The end of a run, and its network evaluations."""
    counted = CountingDenoiser(f)
    levels = grid(spacing, f.schedule, steps)
    x = levels[0].sigma * random_state(3, 4) if x is None else x
    return integrate(counted, solver, x, levels).x, counted.tally.nfe


@pytest.mark.parametrize("make", [DDIM, dpmpp_2m, dpm_2, lambda: UniPC(corrector=False)])
@pytest.mark.parametrize("off", [{"longest": 0}, {"begin": 1.0}, {"end": 0.0}])
def test_without_skips_it_is_the_solver_itself(off, make):
    plain, skipping = run(MIXTURE, make()), run(MIXTURE, SADA(make(), **off))
    assert torch.equal(plain[0], skipping[0]) and plain[1] == skipping[1] == STEPS


@pytest.mark.parametrize("schedule", ["linear", "flow", "edm"])
@pytest.mark.parametrize("make", [DDIM, dpmpp_2m, dpm_2])
def test_skips_cost_less_than_fewer_steps_do(make, schedule):
    f, gaps, calls = Mixture(SCHEDULES[schedule]), [], []
    sigma = f.schedule.level(f.schedule.start).sigma
    for x in sigma * random_state(4, 1, 16):
        full, _ = run(f, make(), x)
        skipped, nfe = run(f, SADA(make()), x)
        fewer, _ = run(f, make(), x, steps=nfe)
        gaps.append([(each - full).norm().item() for each in (skipped, fewer)])
        calls.append(nfe)
    ours, others = torch.tensor(gaps).mean(0).tolist()
    assert sum(calls) < 4 * STEPS and ours < others


@pytest.mark.parametrize(("functional", "order"), [(INTEGRAL, 4), (VALUE, 3)])
def test_the_polynomial_has_its_order_on_the_exact_trajectory(functional, order):
    """Strides of different lengths, on Gaussian data, whose trajectory and slopes are known."""
    f = Gaussian(LinearVP())
    origin, errors = f.schedule.level(0.4), []
    for h in (0.02, 0.01):
        levels = [f.schedule.at(origin.lam + h * each) for each in (1.3, 0, -0.7, -1.9)]
        states = [f.carry(random_state(2, 3), origin, level) for level in levels]
        angles = [atan2(level.sigma, level.alpha) for level in levels]
        pairs = [(f(x, level), level) for x, level in zip(states, levels, strict=True)]
        slopes = [level.alpha * estimate.eps - level.sigma * estimate.x0 for estimate, level in pairs]
        track = Track()
        for angle, slope in list(zip(angles, slopes, strict=True))[:0:-1]:
            track = track.added(angle, slope, [True, True])
        value = track.polynomial(angles[1], angles[0], functional)
        exact = slopes[0] if functional is VALUE else (states[0] - states[1]) / (angles[0] - angles[1])
        errors.append((value - exact).abs().max().item())
    # the integral over the step, (angle difference) * value, has one order more than its mean
    assert log2(errors[0] / errors[1]) + (functional is INTEGRAL) == pytest.approx(order, abs=0.15)


def test_straight_trajectories_are_skipped_and_stay_exact():
    """One evaluation in five between the shares `begin` and `end` of the run."""
    f = Drift(lambda angle: 0.7)
    full, _ = run(f, dpmpp_2m())
    for each in (1, 4):
        skipped, calls = run(f, SADA(dpmpp_2m(), longest=each))
        torch.testing.assert_close(skipped, full, rtol=0, atol=1e-13)
        assert calls == STEPS - sum((i - 10) % (each + 1) < each for i in range(10, 47))


@pytest.mark.parametrize(
    ("slope", "skips"),
    [
        (lambda angle: angle**2, True),  # the run bends less and less
        (lambda angle: (TOP - angle) ** 2, False),  # it bends more and more
        (lambda angle: 2 - 3 * angle + angle**2, False),
    ],
)
def test_quadratic_slopes_are_skipped_where_they_calm_and_stay_exact(slope, skips):
    full, _ = run(Drift(slope), DDIM(), spacing=time_uniform)
    skipped, calls = run(Drift(slope), SADA(DDIM()), spacing=time_uniform)
    torch.testing.assert_close(skipped, full, rtol=0, atol=1e-12)
    assert (calls < STEPS - 20) == skips


def test_an_oscillating_drift_is_skipped_less_than_a_straight_one():
    calls = [run(Drift(slope), SADA(DDIM()))[1] for slope in (lambda angle: 1.0, lambda angle: sin(40 * angle))]
    assert calls[0] < calls[1]


def test_items_skip_by_themselves_and_runs_do_not_depend_on_runs_before():
    f, solver = CountingDenoiser(MIXTURE), SADA(dpmpp_2m())
    levels, x = grid(log_snr, MIXTURE.schedule, STEPS), random_state(4, 2, 3)
    alone, calls = [], []
    for row in x[:, None]:
        before = f.tally.nfe
        alone.append(integrate(f, solver, row, levels).x)
        calls.append(f.tally.nfe - before)
    before = f.tally.nfe
    together = integrate(f, solver, x, levels).x
    assert len(set(calls)) > 1 and max(calls) <= f.tally.nfe - before < STEPS
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-13)
    assert torch.equal(integrate(f, solver, x, levels).x, together)


def test_a_teleport_evaluates_nothing_more():
    x = random_state(2, 3)
    teleport = Teleport(torch.ones(3, dtype=x.dtype), torch.eye(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype))
    inside = SADA(WithTeleport(dpmpp_2m(), teleport, 5), longest=0)
    assert run(MIXTURE, inside, x)[1] == STEPS - 5
    calls = run(MIXTURE, WithTeleport(SADA(dpmpp_2m()), teleport, 5), x)[1]
    assert calls < STEPS - 5


def test_dtype_is_kept_and_a_run_can_be_resumed():
    levels, x, solver = grid(log_snr, MIXTURE.schedule, 20), random_state(2, 3), SADA(dpmpp_2m())
    assert integrate(MIXTURE, solver, x.float(), levels).x.dtype == torch.float32
    half = integrate(MIXTURE, solver, x, levels, last=11)
    rest = integrate(MIXTURE, solver, half.x, levels, first=11, state=half.state)
    assert torch.equal(rest.x, integrate(MIXTURE, solver, x, levels).x)


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: SADA(SOLVERS["sde-dpmpp-2m"]()), "adds noise: give a deterministic"),
        (lambda: SADA(SOLVERS["heun"]()), "one evaluation per step"),
        (lambda: SADA(SOLVERS["evodiff"]()), "order 0: give order 1 or 2"),
        (lambda: SADA(SOLVERS["unipc"]()), "order 3: give order 1 or 2"),
        (lambda: SADA(SOLVERS["dpmpp-3m"]()), "order 3: give order 1 or 2"),
        (lambda: SADA(DDIM(), longest=-1), "-1 skips"),
        (lambda: SADA(DDIM(), begin=-0.1), "from -0.1"),
        (lambda: SADA(DDIM(), end=1.5), "to 1.5"),
        (lambda: integrate(MIXTURE, SADA(DDIM()), random_state(2), grid(log_snr, LinearVP(), 9)[::-1]), "only samples"),
        (
            lambda: integrate_parallel(MIXTURE, SADA(DDIM()), random_state(2, 3), grid(log_snr, LinearVP(), 50)),
            "steps vary in their evaluations",
        ),
    ],
)
def test_what_does_not_compose_is_refused(solve, message):
    with pytest.raises(UsageError, match=message):
        solve()

"""SADA: the solver itself where nothing is skipped, trajectories in closed form, batches, and what it refuses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import atan2, log, log2, sin, tan
from typing import Any

import pytest
import torch
from problems import MIXTURE, SCHEDULES, Gaussian, Mixture, random_state

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser, SingleLevelDenoiser
from fastdiff.solvers.dpm_solver import dpm_2, dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import from_v
from fastdiff.solvers.forecast import Track, amplification
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sada import INTEGRAL, LINE, SADA, VALUE
from fastdiff.solvers.schedule import Level, LinearVP
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.unipc import UniPC
from fastdiff.solvers.with_teleport import WithTeleport

STEPS = 50
TELEPORT = Teleport(
    torch.ones(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
)
TOP = 1.5  # angle near which runs begin
CRITERION: dict[str, Any] = {"stepwise": 1.0, "longest": 4}  # options of the step-wise regime alone


def equal_angles(schedule, count):
    """Levels in equal strides of the angle."""
    return tuple(schedule.at(-log(tan(TOP - 1.4 * i / (count - 1)))) for i in range(count))


@dataclass(frozen=True)
class Drift(SingleLevelDenoiser):
    """States whose derivative by the angle depends on the angle alone. Records the levels that it evaluates."""

    slope: Callable[[float], float]
    levels: list[Level] = field(default_factory=list)
    schedule = LinearVP()

    def __call__(self, x, level):
        self.levels.append(level)
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
@pytest.mark.parametrize("off", [{"longest": 0}, {"begin": 1.0}, {"end": 0.0}, CRITERION | {"longest": 0}])
def test_without_skips_it_is_the_solver_itself(off, make):
    plain, skipping = run(MIXTURE, make()), run(MIXTURE, SADA(make(), **off))
    assert torch.equal(plain[0], skipping[0]) and plain[1] == skipping[1] == STEPS


@pytest.mark.parametrize("schedule", ["linear", "flow", "edm"])
@pytest.mark.parametrize("make", [DDIM, dpmpp_2m, dpm_2])
def test_skips_by_the_criterion_cost_less_than_fewer_steps_do(make, schedule):
    f, gaps, calls = Mixture(SCHEDULES[schedule]), [], []
    sigma = f.schedule.level(f.schedule.start).sigma
    for x in sigma * random_state(4, 1, 16):
        full, _ = run(f, make(), x)
        skipped, nfe = run(f, SADA(make(), **CRITERION), x)
        fewer, _ = run(f, make(), x, steps=nfe)
        gaps.append([(each - full).norm().item() for each in (skipped, fewer)])
        calls.append(nfe)
    ours, others = torch.tensor(gaps).mean(0).tolist()
    assert sum(calls) < 4 * STEPS and ours < others


@pytest.mark.parametrize("schedule", ["linear", "flow", "cosine"])
@pytest.mark.parametrize("make", [DDIM, dpmpp_2m, dpm_2, UniPC])
@pytest.mark.parametrize("rising", [False, True])
def test_planned_skips_cost_less_than_fewer_steps_do(make, schedule, rising):
    """In equal strides of time, sampling and inverting."""
    f, turn = Mixture(SCHEDULES[schedule]), -1 if rising else 1
    x = random_state(16, 4) * (0.5 if rising else 1.0)
    levels = grid(time_uniform, f.schedule, STEPS)[::turn]
    full = integrate(f, make(), x, levels).x
    counted = CountingDenoiser(f)
    skipped = integrate(counted, SADA(make()), x, levels).x
    nfe = counted.tally.nfe
    fewer = integrate(f, make(), x, grid(time_uniform, f.schedule, nfe)[::turn]).x
    assert nfe <= STEPS * 3 / 4 and (skipped - full).norm() < (fewer - full).norm() / 1.5


@pytest.mark.parametrize(("functional", "order"), [(INTEGRAL, 4), (VALUE, 3), (LINE, 2)])
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
        exact = (states[0] - states[1]) / (angles[0] - angles[1]) if functional is INTEGRAL else slopes[0]
        errors.append((value - exact).abs().max().item())
    # the integral over the step, (angle difference) * value, has one order more than its mean
    assert log2(errors[0] / errors[1]) + (functional is INTEGRAL) == pytest.approx(order, abs=0.15)


def test_straight_trajectories_are_skipped_and_stay_exact():
    """One evaluation in five between the shares `begin` and `end` of the run."""
    f = Drift(lambda angle: 0.7)
    full, _ = run(f, dpmpp_2m())
    for each in (1, 4):
        skipped, calls = run(f, SADA(dpmpp_2m(), longest=each, stepwise=1.0))
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
    skipped, calls = run(Drift(slope), SADA(DDIM(), **CRITERION), spacing=time_uniform)
    torch.testing.assert_close(skipped, full, rtol=0, atol=1e-12)
    assert (calls < STEPS - 20) == skips


def test_an_oscillating_drift_is_skipped_less_than_a_straight_one():
    calls = [
        run(Drift(slope), SADA(DDIM(), **CRITERION))[1] for slope in (lambda angle: 1.0, lambda angle: sin(40 * angle))
    ]
    assert calls[0] < calls[1]


@pytest.mark.parametrize("spacing", [equal_angles, log_snr, time_uniform])
@pytest.mark.parametrize("make", [DDIM, dpmpp_2m, UniPC])
def test_planned_skips_are_exact_where_slopes_are_lines(make, spacing):
    f = Drift(lambda angle: 2 - 3 * angle)
    full, _ = run(f, make(), spacing=spacing)
    skipped, calls = run(f, SADA(make()), spacing=spacing)
    torch.testing.assert_close(skipped, full, rtol=0, atol=1e-12)
    assert calls < STEPS - 5


def test_the_plan_evaluates_one_step_in_an_interval():
    """After shorter gaps at its begin, where the last two evaluations are neighbours."""
    for interval, longest, gap in ((3, 3, 3), (4, 3, 4), (4, 2, 3)):
        f = Drift(sin)
        run(f, SADA(DDIM(), interval=interval, longest=longest), spacing=equal_angles)
        evaluated = [index for index, level in enumerate(equal_angles(f.schedule, STEPS + 1)) if level in f.levels]
        assert evaluated == expected(gap)


def expected(gap):
    """Steps 0 to 10, gaps that grow by a step to `gap`, and all steps from 47 on."""
    grown, steps = 2, [*range(11)]
    while steps[-1] + grown < 47:
        steps.append(steps[-1] + grown)
        grown = min(grown + 1, gap)
    return [*steps, 47, 48, 49]


def test_evaluations_are_not_skipped_where_forecasts_would_multiply_their_errors():
    f = Drift(sin)
    levels = grid(log_snr, f.schedule, 25)
    run(f, SADA(DDIM(), begin=0.0, end=1.0), steps=25)
    strides = [atan2(t.sigma, t.alpha) - atan2(u.sigma, u.alpha) for t, u in pairwise(levels)]
    grow = [index for index in range(1, 25) if strides[index] > 1.25 * strides[index - 1]]
    assert len(grow) > 5 and all(levels[index] in f.levels for index in grow) and len(f.levels) < 25


def test_amplification_is_the_largest_forecast_from_slopes_of_size_one():
    angles = (1.0, 1.2, 1.5)
    found = []
    for signs in ((1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, 1, 1)):
        track = Track()
        for angle, sign in list(zip(angles, signs, strict=True))[::-1]:
            track = track.added(angle, torch.full((1,), float(sign), dtype=torch.float64), [True])
        found.append(abs(track.polynomial(1.0, 0.9, VALUE).item()))
    assert amplification(angles, 0.9) == pytest.approx(max(found)) and max(found) > 2


def test_forecasts_from_halves_are_summed_in_float32():
    track = Track()
    for angle, scale in ((1.0, 1.0), (0.9, 1.01), (0.8, 1.02)):
        track = track.added(angle, scale * random_state(2, 64, dtype=torch.float32).bfloat16(), [True, True])
    made = track.polynomial(0.8, 0.7, VALUE)
    wide = Track(track.angles, tuple(slope.double() for slope in track.slopes)).polynomial(0.8, 0.7, VALUE)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made, wide.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("make", [DDIM, dpmpp_2m, lambda: UniPC(order=3)])
def test_planned_runs_converge_with_their_order(make):
    f, errors = Gaussian(LinearVP()), []
    solver = SADA(make())
    for steps in (100, 200):
        levels = equal_angles(f.schedule, steps + 1)
        x = levels[0].sigma * random_state(3, 4)
        exact = f.carry(x, levels[0], levels[-1])
        errors.append((integrate(f, solver, x, levels).x - exact).abs().max().item())
    assert log2(errors[0] / errors[1]) == pytest.approx(solver.order, abs=0.3) and not solver.one_step


def test_planned_runs_cost_the_same_for_every_batch_and_run_in_parallel():
    levels, x, solver = grid(time_uniform, MIXTURE.schedule, STEPS), random_state(4, 2, 3), SADA(dpmpp_2m())
    alone = [run(MIXTURE, solver, row, time_uniform) for row in x[:, None]]
    together, calls = run(MIXTURE, solver, x, time_uniform)
    assert {each for _, each in alone} == {calls}
    torch.testing.assert_close(torch.cat([each for each, _ in alone]), together, rtol=0, atol=1e-13)
    parallel = integrate_parallel(MIXTURE, solver, x, levels, tolerance=0.0)
    torch.testing.assert_close(parallel.x, together, rtol=1e-12, atol=1e-12)


def test_items_skip_by_themselves_and_runs_do_not_depend_on_runs_before():
    f, solver = CountingDenoiser(MIXTURE), SADA(dpmpp_2m(), **CRITERION)
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
    inside = SADA(WithTeleport(dpmpp_2m(), TELEPORT, 5), longest=0)
    assert run(MIXTURE, inside, x)[1] == STEPS - 5
    calls = run(MIXTURE, WithTeleport(SADA(dpmpp_2m()), TELEPORT, 5), x)[1]
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
        (lambda: SADA(SOLVERS["evodiff"](), **CRITERION), "order 0: give order 1 or 2"),
        (lambda: SADA(SOLVERS["unipc"](), **CRITERION), "order 3: give order 1 or 2"),
        (lambda: SADA(SOLVERS["dpmpp-3m"](), **CRITERION), "order 3: give order 1 or 2"),
        (lambda: SADA(SADA(DDIM())), "around SADA, which skips evaluations already"),
        (lambda: SADA(WithTeleport(SADA(DDIM()), TELEPORT, 5)), "around WithTeleport, which skips evaluations already"),
        (lambda: SADA(DDIM(), interval=0.5), "an evaluation in 0.5 strides"),
        (lambda: SADA(DDIM(), stepwise=-1.0), "until -1 of a run"),
        (lambda: SADA(DDIM(), longest=-1), "-1 skips"),
        (lambda: SADA(DDIM(), begin=-0.1), "from -0.1"),
        (lambda: SADA(DDIM(), end=1.5), "to 1.5"),
        (lambda: SADA(DDIM(), **CRITERION).init(grid(log_snr, LinearVP(), 9)[::-1]), "only samples"),
        (
            lambda: integrate_parallel(
                MIXTURE, SADA(DDIM(), **CRITERION), random_state(2, 3), grid(log_snr, LinearVP(), 50)
            ),
            "steps vary in their evaluations",
        ),
    ],
)
def test_what_does_not_compose_is_refused(solve, message):
    with pytest.raises(UsageError, match=message):
        solve()

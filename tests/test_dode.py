"""D-ODE solvers: the published toy, closed forms, and that a fit never does worse than the plain solver."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from problems import MIXTURE, SCHEDULES, Gaussian, Mixture, random_state

from fastdiff.solvers.adams_bashforth import deis
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.dode import DODE
from fastdiff.solvers.dode_heun import HeunDODE
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, grid, karras, log_snr, time_uniform
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.learned_correction import reach
from fastdiff.solvers.schedule import EDM, Flow, LinearVP
from fastdiff.solvers.tuning import dode, dode_heun
from fastdiff.solvers.tuning.least_squares import least_squares
from fastdiff.solvers.tuning.teacher import Batch, Teacher, Watch, between, finer, unwatched
from fastdiff.solvers.unipc import UniPC

INNER: dict[str, Solver[Any]] = {"ddim": DDIM(), "dpmpp-2m": dpmpp_2m(), "deis": deis(2)}
FINE = UniPC(3, lower_final=False)


def states(f, solver, x, levels):
    found = [x]
    integrate(f, solver, x, levels, watch=lambda now: found.append(now.x))
    return found


def fitted(
    name: str, batches: Sequence[Batch], levels: Grid, teacher: Teacher, watch: Watch = unwatched
) -> DODE[Any] | HeunDODE:
    if name == "heun":
        return dode_heun.fit(batches, levels, teacher, watch)
    return dode.fit(batches, levels, teacher, INNER[name], watch)


def error(f, solver, x, levels):
    exact = finer(levels, FINE, 60)(f, x)[-1]
    return (integrate(f, solver, x, levels).x - exact).square().mean().item()


def test_golden_toy():
    """The authors' teacher: every tenth state of a Karras grid of ten times the levels, by index."""
    f, x = Mixture(EDM()), 80 * torch.linspace(-2, 2, 41, dtype=torch.float64)
    levels, many = (grid(karras, f.schedule, steps, clean=True) for steps in (5, 50))
    teacher = states(f, DDIM(), x, many)[::10]
    found = dode.fit([(f, x)], levels, lambda f, x: teacher, DDIM())
    published = [n * reach(t, u) for (n,), (t, u) in zip(found.coefficients, pairwise(levels), strict=True)]
    assert published == pytest.approx([0, 88.7273107, 0.658937335, -0.417815825, 0.0198217655], rel=2e-8)
    after = [(a - b).square().mean().item() for a, b in zip(states(f, found, x, levels), teacher, strict=True)]
    assert after[2:] == pytest.approx([0.00579, 0.0303, 0.0276, 0.029878], rel=2e-3)


def test_a_number_is_that_of_numpy():
    direction, wanted = random_state(5, 3), random_state(8, 5, 3)[-1]
    expected = np.linalg.lstsq(direction.reshape(-1, 1).numpy(), wanted.flatten().numpy())[0][0]
    parts = [((direction[:2],), wanted[:2]), ((direction[2:],), wanted[2:])]
    assert least_squares(parts, 0.0)[0] == pytest.approx(expected, rel=1e-12)
    assert least_squares([((torch.zeros_like(direction),), wanted)], 0.0) == (0,)
    assert least_squares([((), wanted)], 0.0) == ()


@pytest.mark.parametrize("name", INNER)
def test_a_teacher_of_as_many_steps_has_nothing_to_teach(name):
    levels = grid(log_snr, MIXTURE.schedule, 6, clean=True)
    found = dode.fit([(MIXTURE, random_state(20))], levels, finer(levels, INNER[name], 1), INNER[name])
    assert np.abs(np.array(found.coefficients)).max() < 1e-9


def test_directions_of_rounding_errors_alone_get_no_number():
    """Data of a single point: the estimate never changes, and no number may grow out of its last digits."""
    f = Gaussian(LinearVP(), variance=0.0)
    levels = grid(time_uniform, f.schedule, 6)
    found = dode.fit([(f, random_state(9))], levels, lambda f, x: [x + i for i in range(7)], DDIM())
    assert np.abs(np.array(found.coefficients)).max() < 0.1


@pytest.mark.parametrize("steps", [4, 8])
@pytest.mark.parametrize("name", [*INNER, "heun"])
def test_no_number_is_worse_than_none(name, steps):
    """Each in turn against 0, with those before it, at the end of its own step on the states of the fit."""
    levels, x = grid(log_snr, MIXTURE.schedule, steps), random_state(40)
    teacher = finer(levels, INNER.get(name, Heun()), 10)
    exact = teacher(MIXTURE, x)
    found = fitted(name, [(MIXTURE, x)], levels, teacher)
    with_all = states(MIXTURE, found, x, levels)
    for i in range(steps):
        without: list[Any] = list(found.coefficients)
        without[i] = (*found.coefficients[i][:-1], 0.0)
        plain = states(MIXTURE, replace(found, coefficients=tuple(without)), x, levels)[i + 1]
        assert (with_all[i + 1] - exact[i + 1]).square().mean() <= (plain - exact[i + 1]).square().mean() + 1e-15


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        *[(name, schedule) for name in ("ddim", "deis", "heun") for schedule in SCHEDULES],
        *[("dpmpp-2m", schedule) for schedule in ("linear", "cosine", "flow")],
    ],
)
def test_unseen_states_gain(name, schedule):
    """Step by step the fit is greedy: around DPM-Solver++(2M) the end of a run does not gain on every schedule."""
    f = Mixture(SCHEDULES[schedule])
    levels = grid(log_snr, f.schedule, 6, clean=True)
    seen, unseen = levels[0].sigma * random_state(2, 100)
    inner = INNER.get(name, Heun())
    teacher = finer(levels, inner, 10)
    found = fitted(name, [(f, seen)], levels, teacher)
    assert error(f, found, unseen, levels) < 0.85 * error(f, inner, unseen, levels)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gaussian_data_around_zero_have_a_closed_form(schedule):
    """All is a multiple of the start there: x = r x_T, O = c r x_T, and the number is what leads to the teacher's r."""
    f = Gaussian(SCHEDULES[schedule], mean=0.0)
    levels = grid(log_snr, f.schedule, 5)

    def share(level):
        return level.alpha**2 * f.variance + level.sigma**2

    def exact(f, x):
        return [f.carry(x, levels[0], level) for level in levels]

    found = dode.fit([(f, levels[0].sigma * random_state(7))], levels, exact, DDIM())
    r, before, expected = 1.0, None, []
    for t, u in pairwise(levels):
        output = t.alpha * f.variance / share(t) * r
        plain = u.sigma / t.sigma * r + reach(t, u) * output
        wanted = sqrt(share(u) / share(levels[0]))
        expected.append(0.0 if before is None else (wanted - plain) / (reach(t, u) * (output - before)))
        r, before = plain if before is None else wanted, output
    assert [n for (n,) in found.coefficients] == pytest.approx(expected, rel=1e-3)  # what the ridge leaves


@pytest.mark.parametrize("name", [*INNER, "heun"])
def test_batches_are_fitted_as_one(name):
    levels, x, seen = grid(log_snr, MIXTURE.schedule, 5), random_state(12), list[tuple[int, int]]()
    teacher = finer(levels, INNER.get(name, Heun()), 4)

    def fit(*parts):
        seen.clear()
        batches = [(MIXTURE, part) for part in parts]
        return fitted(name, batches, levels, teacher, lambda done, total: seen.append((done, total)))

    whole, parts = fit(x), fit(x[:5], x[5:])
    assert seen == [(done, 5) for done in range(1, 6)]
    assert np.array(parts.coefficients) == pytest.approx(np.array(whole.coefficients), rel=1e-6, abs=1e-9)


def test_fits_refuse_rising_grids():
    levels = grid(log_snr, MIXTURE.schedule, 5)[::-1]
    for name in ("heun", "ddim"):
        with pytest.raises(UsageError, match="cannot invert"):
            fitted(name, [(MIXTURE, random_state(3))], levels, finer(levels, DDIM(), 2))


def test_a_teacher_visits_the_levels_of_the_grid_and_none_below_the_known_ones():
    schedule = Flow(start=1.0)
    levels = grid(time_uniform, schedule, 4, clean=True)
    assert between(schedule, levels[-2], levels[-1], 10) == levels[-2:]
    first = [level.t for level in between(schedule, levels[0], levels[1], 4)]
    assert np.diff(first) == pytest.approx([(levels[1].t - levels[0].t) / 4] * 4)
    middle = [level.lam for level in between(schedule, levels[1], levels[2], 4)]
    assert np.diff(middle) == pytest.approx([(levels[2].lam - levels[1].lam) / 4] * 4)
    f = Gaussian(schedule)
    found = finer(levels, Heun(), 50)(f, random_state(5))
    assert len(found) == 5
    torch.testing.assert_close(found[3], f.carry(found[1], levels[1], levels[3]), rtol=0, atol=1e-3)

"""IIA: the published toy, the identity behind the form around Heun's rule, and what a fit gains."""

from typing import Any

import numpy as np
import pytest
import torch
from problems import MIXTURE, SCHEDULES, Gaussian, Mixture, random_state

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, log_snr
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.iia import IIA, HeunIIA, NoiseIIA, gradients
from fastdiff.solvers.integration import Solver, Step, integrate, steps_of
from fastdiff.solvers.learned_correction import LearnedCorrection, Memory
from fastdiff.solvers.tuning import iia
from fastdiff.solvers.tuning.teacher import between, finer
from fastdiff.solvers.unipc import UniPC

FORMS: dict[str, tuple[type[LearnedCorrection[Any]], Solver[Any]]] = {
    "ddim": (IIA, DDIM()),
    "noise": (NoiseIIA, DDIM()),
    "dpmpp-2m": (IIA, dpmpp_2m()),
    "heun": (HeunIIA, Heun()),
}
GOLDEN_START = torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)
GOLDEN_LEVELS = grid(log_snr, MIXTURE.schedule, 5)


def states(f, solver, x, levels):
    found = [x]
    integrate(f, solver, x, levels, watch=lambda now: found.append(now.x))
    return found


def mean_square(x):
    return x.square().mean().item()


def error(f, solver, x, levels):
    return mean_square(integrate(f, solver, x, levels).x - finer(levels, UniPC(3, lower_final=False), 60)(f, x)[-1])


def test_golden_toy():
    """The ridge of the published numbers stands beside a sum over the 41 states, not their mean."""
    found = iia.fit(IIA, [(MIXTURE, GOLDEN_START)], GOLDEN_LEVELS, DDIM(), ridge=1e-6 / 41)
    assert np.array(found.coefficients) == pytest.approx(
        np.array(
            [
                (0, 0),
                (0.7145031, -0.03191728),
                (-2.14984367, -17.13633696),
                (0.19929589, 0.08578784),
                (0.03568941, -0.00290906),
            ]
        ),
        abs=1e-7,
    )
    before, after = [], []
    reached = states(MIXTURE, found, GOLDEN_START, GOLDEN_LEVELS)
    for i in range(1, 5):
        t, u = GOLDEN_LEVELS[i : i + 2]
        fine = integrate(MIXTURE, DDIM(), reached[i], between(MIXTURE.schedule, t, u, 10)).x
        before.append(mean_square(integrate(MIXTURE, DDIM(), reached[i], (t, u)).x - fine))
        after.append(mean_square(reached[i + 1] - fine))
    assert before == pytest.approx([9.322e-4, 1.046e-1, 1.137e-2, 6.350e-5], rel=1e-3)
    assert after == pytest.approx([6.298e-6, 8.883e-3, 5.920e-3, 2.287e-5], rel=1e-3)
    reference = integrate(MIXTURE, DDIM(), GOLDEN_START, grid(log_snr, MIXTURE.schedule, 4000)).x
    plain = integrate(MIXTURE, DDIM(), GOLDEN_START, GOLDEN_LEVELS).x
    assert mean_square(reached[-1] - reference) == pytest.approx(1.172e-2, rel=1e-3)
    assert mean_square(plain - reference) == pytest.approx(8.819e-2, rel=1e-3)


def test_golden_scalars():
    """Fitted on the states of plain DDIM: every step a run of its own."""
    plain = states(MIXTURE, DDIM(), GOLDEN_START, GOLDEN_LEVELS)
    found = [
        iia.fit(NoiseIIA, [(MIXTURE, plain[i])], GOLDEN_LEVELS[i : i + 2], DDIM(), ridge=0.0).coefficients[0][0]
        for i in range(5)
    ]
    assert found == pytest.approx([0.00047705, 0.02055664, 0.20622279, 0.06082613, 0.02131669], abs=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_identity_of_heun(schedule):
    """A step of Heun's rule is its two gradients, each once."""
    f, (t, u) = Mixture(SCHEDULES[schedule]), grid(log_snr, SCHEDULES[schedule], 6)[2:4]
    x = t.sigma * random_state(9)
    now, _ = HeunIIA(Heun(), ()).stride(f, x, Step(0, 1, t, u), Memory(None))
    first, second = gradients(now)
    torch.testing.assert_close(
        x * (u.alpha / t.alpha) + u.alpha * (u.edm_sigma - t.edm_sigma) * (first + second),
        Heun().step(f, x, Step(0, 1, t, u), None)[0],
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", ["ddim", "noise", "heun"])
def test_one_fine_step_has_nothing_to_teach(name):
    kind, inner = FORMS[name]
    found = iia.fit(kind, [(MIXTURE, random_state(20))], grid(log_snr, MIXTURE.schedule, 6), inner, parts=1)
    assert np.abs(np.array(found.coefficients)).max() < 1e-9


@pytest.mark.parametrize("steps", [4, 8])
@pytest.mark.parametrize("name", FORMS)
def test_no_step_is_worse_than_a_plain_one(name, steps):
    """On the states of the fit, against the plain step from the same states with the same memory."""
    (kind, inner), levels, x = FORMS[name], grid(log_snr, MIXTURE.schedule, steps), random_state(40)
    found = iia.fit(kind, [(MIXTURE, x)], levels, inner)
    state = found.init(levels)
    for step in steps_of(levels):
        now, _ = found.stride(MIXTURE, x, step, state)
        fine = integrate(MIXTURE, inner, x, between(MIXTURE.schedule, step.t, step.u, 10)).x
        x, state = found.step(MIXTURE, x, step, state)
        assert mean_square(x - fine) <= mean_square(now.end - fine) + 1e-15


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", FORMS)
def test_unseen_states_gain(name, schedule):
    """From fine steps, and more from a teacher, whose states also say what the steps before have left undone."""
    (kind, inner), f = FORMS[name], Mixture(SCHEDULES[schedule])
    levels = grid(log_snr, f.schedule, 6, clean=True)
    seen, unseen = levels[0].sigma * random_state(2, 100)
    own = iia.fit(kind, [(f, seen)], levels, inner)
    shown = iia.fit(kind, [(f, seen)], levels, inner, teacher=finer(levels, UniPC(3), 20))
    plain, less, least = (error(f, solver, unseen, levels) for solver in (inner, own, shown))
    assert less < 0.85 * plain and least < 0.8 * less


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["ddim", "noise"])
def test_gaussian_data_around_zero_are_fitted_exactly(name, schedule):
    """All directions are multiples of the state there, so each step ends where its fine steps do."""
    (kind, inner), f = FORMS[name], Gaussian(SCHEDULES[schedule], mean=0.0)
    levels = grid(log_snr, f.schedule, 5)
    x = levels[0].sigma * random_state(12)
    found = iia.fit(kind, [(f, x)], levels, inner, ridge=0.0)
    reached = states(f, found, x, levels)
    for i in range(1, 5):
        fine = integrate(f, inner, reached[i], between(f.schedule, levels[i], levels[i + 1], 10)).x
        torch.testing.assert_close(reached[i + 1], fine, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", FORMS)
def test_batches_are_fitted_as_one(name):
    (kind, inner), levels, x = FORMS[name], grid(log_snr, MIXTURE.schedule, 5), random_state(12)
    seen = list[tuple[int, int]]()
    whole = iia.fit(kind, [(MIXTURE, x)], levels, inner, watch=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]
    parts = iia.fit(kind, [(MIXTURE, x[:5]), (MIXTURE, x[5:])], levels, inner)
    assert np.array(parts.coefficients) == pytest.approx(np.array(whole.coefficients), rel=1e-5, abs=1e-7)


def test_a_fit_refuses_rising_grids():
    with pytest.raises(UsageError, match="cannot invert"):
        iia.fit(IIA, [(MIXTURE, random_state(3))], GOLDEN_LEVELS[::-1], DDIM())


def test_a_fit_on_states_that_are_no_numbers_is_refused():
    with pytest.raises(UsageError, match="not finite"):
        iia.fit(NoiseIIA, [(MIXTURE, random_state(3) * torch.nan)], GOLDEN_LEVELS, DDIM())

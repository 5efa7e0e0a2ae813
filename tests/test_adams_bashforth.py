"""DEIS and iPNDM: what their polynomials integrate exactly, the order they reach, and iPNDM beside diffusers."""

from dataclasses import dataclass
from itertools import pairwise
from math import log, log2

import numpy as np
import pytest
import torch
from diffusers import IPNDMScheduler
from problems import MIXTURE, MIXTURE_END, MIXTURE_START, SCHEDULES, Gaussian, Mixture, random_state, start

from fastdiff.solvers.adams_bashforth import deis, ipndm
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import SingleLevelDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import from_eps
from fastdiff.solvers.exponential import EPS, taylor
from fastdiff.solvers.grids import grid, karras, log_snr, time_uniform
from fastdiff.solvers.integration import Progress, integrate, steps_of
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.schedule import EDM, Level, LinearVP, Schedule
from fastdiff.solvers.unipc import UniPC


def polynomial(t, degree):
    return sum((k + 1) * (t - 0.3) ** k for k in range(degree + 1))


@dataclass(frozen=True)
class Noisy(SingleLevelDenoiser):
    """The noise is a polynomial in time, whatever the state."""

    schedule: Schedule
    degree: int

    def __call__(self, x, level):
        return from_eps(torch.full_like(x, polynomial(level.t, self.degree)), x, level)

    def fresh(self):
        return self


def integral(schedule, t, u, degree):
    """Of the polynomial over sigma / alpha, by the trapezoidal rule in time."""
    times = np.linspace(t.t, u.t, 20_001)
    edm_sigmas = [schedule.level(float(time)).edm_sigma for time in times]
    return float(np.trapezoid(polynomial(times, degree), edm_sigmas))


def last_stride(solver, f, levels):
    """What the last step adds to x / alpha, once the history is full."""
    seen = list[Progress]()
    integrate(f, solver, start(), levels, watch=seen.append)
    before, after = (p.x.item() / p.step.u.alpha for p in seen[-2:])
    return after - before


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("schedule", [LinearVP(end=0.1), EDM(2.0, 0.5)], ids=["linear", "edm"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_integrates_polynomials_in_time_exactly(order, schedule, direction):
    levels = grid(karras, schedule, 4)[::direction]
    got = [last_stride(deis(order, lower_final=False), Noisy(schedule, d), levels) for d in (order - 1, order)]
    exact = [integral(schedule, levels[-2], levels[-1], degree) for degree in (order - 1, order)]
    assert got[0] == pytest.approx(exact[0], rel=1e-6)
    assert got[1] != pytest.approx(exact[1], rel=1e-4)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ipndm_integrates_polynomials_exactly_over_equal_strides(order, direction):
    schedule = EDM(2.0, 0.5)
    levels = grid(time_uniform, schedule, 6)[::direction]
    got = [last_stride(ipndm(order, lower_final=False), Noisy(schedule, d), levels) for d in (order - 1, order)]
    exact = [integral(schedule, levels[-2], levels[-1], degree) for degree in (order - 1, order)]
    assert got[0] == pytest.approx(exact[0], rel=1e-8)
    assert got[1] != pytest.approx(exact[1], rel=1e-4)


@pytest.mark.parametrize("make", [deis, ipndm])
def test_the_first_step_is_ddim(make):
    levels = grid(log_snr, MIXTURE.schedule, 9)[:2]
    ours = integrate(MIXTURE, make(), random_state(3), levels).x
    torch.testing.assert_close(ours, integrate(MIXTURE, DDIM(), random_state(3), levels).x, rtol=0, atol=1e-13)


def errors(solver, spacing, direction, steps):
    begin, end = (MIXTURE_START, MIXTURE_END)[::direction]
    levels = (grid(spacing, MIXTURE.schedule, n)[::direction] for n in steps)
    return [abs(integrate(MIXTURE, solver, start(begin), run).x.item() - end) for run in levels]


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("spacing", [log_snr, karras])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_converges_with_its_order(order, spacing, direction):
    """DEIS-3 of diffusers 0.42.1 gets worse with every step beyond 48 on Karras levels."""
    coarse, fine = errors(deis(order, lower_final=False), spacing, direction, (160, 320))
    assert log2(coarse / fine) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_ipndm_is_of_second_order_where_strides_differ(order, direction):
    coarse, fine = errors(ipndm(order, lower_final=False), log_snr, direction, (160, 320))
    assert log2(coarse / fine) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_ipndm_reaches_its_order_over_equal_strides_once_it_has_its_values(order, direction):
    """The first three values are those of the exact flow: steps of lower order would leave their error for good."""
    f = Gaussian(EDM(2.0, 0.5))

    def error(steps):
        solver, levels = ipndm(order, lower_final=False), grid(time_uniform, f.schedule, steps)[::direction]
        states = [f.carry(random_state(4), levels[0], level) for level in levels]
        memory = solver.init(levels)
        for x, step in zip(states[:3], steps_of(levels), strict=False):
            _, memory = solver.step(f, x, step, memory)
        return (integrate(f, solver, states[3], levels, first=3, state=memory).x - states[-1]).abs().max().item()

    assert log2(error(160) / error(320)) == pytest.approx(order, abs=0.2)


def test_time_is_another_variable_than_lam():
    levels = grid(log_snr, MIXTURE.schedule, 8)
    ours, lam = (integrate(MIXTURE, s, start(), levels).x for s in (deis(2), Multistep(2, EPS, taylor)))
    assert abs(ours - lam).item() > 1e-3


def test_many_levels_of_a_trained_table_keep_the_order():
    f = Mixture(SCHEDULES["discrete"])
    exact = integrate(f, UniPC(3, lower_final=False), random_state(4), grid(karras, f.schedule, 600)).x
    ends = [
        integrate(f, deis(lower_final=False), random_state(4), grid(karras, f.schedule, n)).x for n in (48, 96, 192)
    ]
    off = [(end - exact).abs().max().item() for end in ends]
    assert all(fine < coarse / 5 for coarse, fine in pairwise(off))


def test_ipndm_agrees_with_diffusers():
    """Between its first level, without signal, and its last, without noise."""
    scheduler = IPNDMScheduler()
    scheduler.set_timesteps(12)
    scheduler.set_begin_index(1)
    pairs = zip(scheduler.alphas.double().tolist(), scheduler.betas.double().tolist(), strict=True)
    levels = [Level(0.0, a, s, log(a / s)) for a, s in list(pairs)[1:-1]]
    f = Mixture(LinearVP())
    x = theirs = random_state(2, 3, dtype=torch.float32)
    for t, level in zip(scheduler.timesteps[1:], levels[:-1], strict=False):
        estimate = f(theirs.double(), level)
        velocity = level.alpha * estimate.eps - level.sigma * estimate.x0
        theirs = scheduler.step(velocity.float(), t, theirs).prev_sample
    ours = integrate(f, ipndm(lower_final=False), x, levels).x
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("make", [lambda: deis(0), lambda: deis(4), lambda: ipndm(0), lambda: ipndm(5)])
def test_other_orders_are_refused(make):
    with pytest.raises(UsageError, match="give 1"):
        make()

"""Singlestep solvers: published values, what calls are spent on, orders, and what inner nodes are; with them DPM-3M."""

from itertools import pairwise
from math import log2

import pytest
import torch
from diffusers import DPMSolverSinglestepScheduler
from problems import LINEAR_BETAS, MIXTURE, MIXTURE_END, MIXTURE_START, Mixture, random_state, start
from torch import Tensor

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.dpm_solver import dpm_1, dpm_2, dpm_3, dpm_3m, dpmpp_3s
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import EPS, X0, midpoint, taylor
from fastdiff.solvers.grids import grid, log_snr, time_quadratic, time_uniform
from fastdiff.solvers.integration import Progress, integrate
from fastdiff.solvers.schedule import CLEAN_LEVEL, from_edm_sigma
from fastdiff.solvers.singlestep import Singlestep, budget, budgeted


def run(solver, spacing, calls):
    return integrate(MIXTURE, solver, start(), grid(spacing, MIXTURE.schedule, calls)).x.item()


FAST = [
    (budgeted(log_snr, dpm_3()), 10, 0.8439615756, 0.9231894869),
    (budgeted(log_snr, dpm_3()), 11, 0.8479631548, 0.9265719940),
    (budgeted(log_snr, dpm_3()), 12, 0.9713300668, 0.9147629428),
    (time_uniform, 10, 0.8827290656, 0.8990170501),
    (time_uniform, 11, 1.0497768379, 0.9422810494),
    (time_uniform, 12, 0.9134952919, 0.8895234956),
    (time_quadratic, 10, 0.9372568080, 0.9277595645),
    (time_quadratic, 12, 0.9197576222, 0.9162358801),
]


@pytest.mark.parametrize(("spacing", "calls", "noise", "data"), FAST)
def test_golden_values_of_the_fast_budget(spacing, calls, noise, data):
    assert run(dpm_3(), spacing, calls) == pytest.approx(noise, abs=1e-10)
    assert run(dpmpp_3s(), spacing, calls) == pytest.approx(data, abs=1e-10)


FIXED = [
    (Singlestep(2, X0), 10, (0.8729544569, 0.9387594249, 0.8986683758), (0.8729544569, 0.8550923272, 0.8933792683)),
    (
        dpm_3(lower_final=False),
        12,
        (0.8461263222, 0.8903217370, 0.9124888327),
        (0.8461263222, 0.8926155064, 0.9032098920),
    ),
]


@pytest.mark.parametrize(("solver", "calls", "on_the_grid", "even_in_lam"), FIXED)
def test_golden_values_of_equal_orders(solver, calls, on_the_grid, even_in_lam):
    spacings = (log_snr, time_uniform, time_quadratic)
    assert [run(solver, s, calls) for s in spacings] == pytest.approx(on_the_grid, abs=1e-10)
    assert [run(solver, budgeted(s, solver), calls) for s in spacings] == pytest.approx(even_in_lam, abs=1e-10)


@pytest.mark.parametrize("form", [X0, EPS])
@pytest.mark.parametrize("slope", [midpoint, taylor])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_of_convergence_in_both_directions(order, slope, form):
    """160 and 320 calls leave a rest of 1 and 2 over threes."""
    solver = Singlestep(order, form, slope, lower_final=False)
    grids = [grid(log_snr, MIXTURE.schedule, n) for n in (160, 320)]
    for direction, begin, end in ((1, MIXTURE_START, MIXTURE_END), (-1, MIXTURE_END, MIXTURE_START)):
        coarse, fine = (abs(integrate(MIXTURE, solver, start(begin), g[::direction]).x.item() - end) for g in grids)
        assert log2(coarse / fine) == pytest.approx(order, abs=0.15)


def test_calls_are_shared_out():
    fast = {1: (1,), 2: (2,), 3: (2, 1), 4: (3, 1), 5: (3, 2), 6: (3, 2, 1), 10: (3, 3, 3, 1), 11: (3, 3, 3, 2)}
    even = {1: (1,), 2: (2,), 3: (3,), 4: (2, 2), 5: (3, 2), 6: (3, 3), 10: (3, 3, 2, 2), 11: (3, 3, 3, 2)}
    assert {calls: budget(calls, 3) for calls in fast} == fast
    assert {calls: budget(calls, 3, lower_final=False) for calls in even} == even
    assert [budget(calls, 2) for calls in (1, 4, 5)] == [(1,), (2, 2), (2, 2, 1)]
    assert budget(3, 1) == (1, 1, 1)


@pytest.mark.parametrize("make", [dpm_1, dpm_2, dpm_3, dpmpp_3s])
@pytest.mark.parametrize("calls", range(1, 9))
def test_calls_are_as_many_as_steps_of_the_grid(make, calls):
    for spacing in (time_uniform, budgeted(time_uniform, make())):
        f, levels = CountingDenoiser(MIXTURE), grid(spacing, MIXTURE.schedule, calls)
        assert len(levels) == calls + 1
        integrate(f, make(), start(), levels)
        assert f.tally.nfe == calls


def test_a_step_of_second_order_over_two_levels_is_dpmpp_2s():
    levels = grid(log_snr, MIXTURE.schedule, 8)
    ours = integrate(MIXTURE, Singlestep(2, X0), random_state(5), levels).x
    torch.testing.assert_close(ours, integrate(MIXTURE, DPMpp2S(), random_state(5), levels[::2]).x, rtol=0, atol=1e-13)


def test_first_order_is_ddim():
    levels = grid(time_uniform, MIXTURE.schedule, 6)
    ours = integrate(MIXTURE, dpm_1(), random_state(5), levels).x
    torch.testing.assert_close(ours, integrate(MIXTURE, DDIM(), random_state(5), levels).x, rtol=0, atol=1e-13)


def test_a_step_is_started_afresh_where_the_one_before_ended():
    """The states between are inner nodes: the step from its beginning does not depend on what came before."""
    levels, seen = grid(log_snr, MIXTURE.schedule, 6), list[Progress]()
    solver = dpmpp_3s(lower_final=False)
    integrate(MIXTURE, solver, random_state(3), levels, watch=seen.append)
    assert torch.equal(seen[0].x, integrate(MIXTURE, dpmpp_3s(), random_state(3), levels[:2]).x)
    again = integrate(MIXTURE, solver, seen[2].x, levels[3:])
    assert torch.equal(again.x, seen[5].x) and again.state is None


def test_sigma_zero_amid_a_step_ends_on_the_clean_estimate():
    levels, seen = (*grid(log_snr, MIXTURE.schedule, 4), CLEAN_LEVEL), list[Progress]()
    solver = dpm_3()
    assert budget(5, 3) == (3, 2)
    x = integrate(MIXTURE, solver, random_state(3), levels, watch=seen.append).x
    assert torch.equal(x, MIXTURE(seen[-2].x, levels[-2]).x0)


@pytest.mark.parametrize("kind", ["dpmsolver++", "dpmsolver"])
def test_third_order_steps_agree_with_diffusers(kind):
    """Its steps of order 1 and 2 give the inner nodes of one of order 3, which "heun" integrates as `taylor` does."""
    scheduler = DPMSolverSinglestepScheduler(
        algorithm_type=kind,
        solver_order=3,
        solver_type="heun",
        use_exponential_sigmas=True,
        final_sigmas_type="sigma_min",
    )
    scheduler.set_timesteps(9)
    f = Mixture(LINEAR_BETAS)
    levels = tuple(from_edm_sigma(LINEAR_BETAS, float(sigma)) for sigma in scheduler.sigmas)[:7]
    x = random_state(2, 3, dtype=torch.float32)
    theirs = list[Tensor]()
    for t, level in zip(scheduler.timesteps[:6], levels, strict=False):
        eps = f((theirs[-1] if theirs else x).double(), level).eps.float()
        theirs.append(scheduler.step(eps, t, theirs[-1] if theirs else x).prev_sample)
    seen = list[Progress]()
    solver = Singlestep(3, X0 if kind == "dpmsolver++" else EPS, taylor, lower_final=False)
    integrate(f, solver, x, levels, watch=seen.append)
    for ours, other in zip(seen, theirs, strict=True):
        torch.testing.assert_close(ours.x, other, rtol=0, atol=2e-5)


def test_golden_values_of_published_dpm_3m():
    values = [run(dpm_3m(published=True), s, 10) for s in (log_snr, time_uniform, time_quadratic)]
    assert values == pytest.approx([0.9150052666, 0.8875296287, 0.9113892531], abs=1e-10)


@pytest.mark.parametrize(("published", "order"), [(True, 2), (False, 3)])
def test_order_of_dpm_3m(published, order):
    errors = [abs(run(dpm_3m(published, lower_final=False), log_snr, n) - MIXTURE_END) for n in (320, 640)]
    assert [log2(a / b) for a, b in pairwise(errors)] == pytest.approx([order], abs=0.15)


def test_other_orders_are_refused():
    with pytest.raises(UsageError, match="give 1, 2 or 3"):
        Singlestep(4)

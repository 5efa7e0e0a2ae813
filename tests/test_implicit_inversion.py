"""Inversion by solving each step for its state: fixed point of one-step solvers, backward Euler of multistep ones."""

from dataclasses import replace

import pytest
import torch
from known import known
from problems import LINEAR_BETAS, MIXTURE, SCHEDULES, SMOOTH, STIFF, Gaussian, Mixture, guided

from fastdiff.inversion.anderson import Anderson, anderson_step
from fastdiff.inversion.backward_euler import BackwardEuler
from fastdiff.inversion.fixed_point import FixedPoint
from fastdiff.inversion.inversion import invert, regenerate
from fastdiff.inversion.reversed import Reversed
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.dpm_solver import dpm_2m, dpmpp_2m, dpmpp_3m, sde_dpmpp_2m
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.grids import grid, linspace, log_snr, time_uniform
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.schedule import Flow, LinearVP


def images(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def error(f, x0, levels, inverter, solver=None):
    inversion = invert(f, x0, levels, inverter, measure=False)
    inversion = inversion if solver is None else replace(inversion, solver=solver)
    return (regenerate(f, inversion) - x0).abs().max().item()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", [DDIM(), DPMpp2S(), Heun()], ids=["ddim", "2s", "heun"])
def test_the_fixed_point_is_exact(schedule, solver):
    f = Mixture(SCHEDULES[schedule])
    inversion = invert(f, images(3, 8), grid(log_snr, f.schedule, 20), FixedPoint(solver))
    assert known(inversion.residual).max() < 1e-10
    assert known(inversion.converged).all() and known(inversion.step_residuals).max() <= 1e-12


@pytest.mark.parametrize("steps", [20, 30, 50])
def test_the_fixed_point_is_exact_on_clusters(steps):
    for f in (SMOOTH, STIFF):
        assert error(f, f.sample(3), grid(linspace, LINEAR_BETAS, steps), FixedPoint()) < 1e-8


def test_the_fixed_point_inverts_a_guided_run():
    schedule = LinearVP()
    f = guided(Gaussian(schedule, mean=1.0), Gaussian(schedule, mean=-0.3, variance=0.4), 4.0)
    levels = grid(log_snr, schedule, 20)
    naive, exact = (invert(f, images(2, 8), levels, inverter) for inverter in (Reversed(), FixedPoint()))
    assert known(exact.residual).max() < 1e-10
    assert known(naive.residual).min() > 1e-2


def test_the_fixed_point_reaches_pure_noise():
    f = Gaussian(Flow(start=1.0))
    inversion = invert(f, images(2, 8), grid(time_uniform, f.schedule, 10)[1:], FixedPoint())
    assert known(inversion.residual).max() < 1e-10


def test_a_step_that_is_not_solved_is_told():
    """Two steps over the whole schedule of narrow clusters are no contraction."""
    levels = grid(linspace, LINEAR_BETAS, 2)
    with pytest.warns(UserWarning, match="not inverted to the tolerance"):
        inversion = invert(STIFF, STIFF.sample(4), levels, FixedPoint())
    assert known(inversion.step_residuals).shape == (2, 4)
    assert torch.equal(known(inversion.converged), (known(inversion.step_residuals) <= 1e-12).all(0))
    assert not known(inversion.converged).all()


def test_acceleration_saves_calls():
    """Plain iteration needs tens of calls a step where Anderson acceleration needs a few."""
    f, levels = CountingDenoiser(MIXTURE), grid(log_snr, MIXTURE.schedule, 10)
    plain, accelerated = (_calls(f, FixedPoint(search=Anderson(1e-12, 400, window)), levels) for window in (1, 5))
    assert accelerated < 0.7 * plain


def _calls(f, solver, levels):
    before = f.tally.nfe
    integrate(f, solver, images(1, 64), levels[::-1])
    return f.tally.nfe - before


def test_anderson_step_solves_a_linear_problem_in_as_many_steps_as_it_has_dimensions():
    matrix = torch.tensor([[0.9, 0.3], [-0.2, 0.5]], dtype=torch.float64)
    target = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    states, misses = [torch.zeros(1, 2, dtype=torch.float64)], []
    for _ in range(4):
        misses.append(target - states[-1] @ matrix.T)
        states.append(states[-1] + anderson_step(states, misses))
    torch.testing.assert_close(states[-1] @ matrix.T, target, rtol=0, atol=1e-10)


def test_the_best_state_is_kept_where_the_search_runs_away():
    """Plain iteration of y -> y + (1 + 3 y) moves away from its root at -1/3."""
    start = torch.tensor([[0.1], [-0.3]], dtype=torch.float64)
    best, miss = Anderson(iterations=1).solve(lambda y: 1 + 3 * y, start)
    assert torch.equal(best[1], start[1])
    torch.testing.assert_close(miss, ((1 + 3 * best) / best).abs()[:, 0])


def test_single_precision_stops_at_rounding():
    f, levels = CountingDenoiser(MIXTURE), grid(log_snr, MIXTURE.schedule, 20)
    inversion = invert(f, images(2, 8).float(), levels, FixedPoint())
    assert known(inversion.residual).max() < 1e-4
    assert known(inversion.converged).all()
    assert inversion.nfe < 20 * 12


def test_backward_euler_beats_a_first_order_guess_and_gains_from_finer_estimates():
    """The yardsticks: 2M over the reversed grid, and the 2M sampler from what DDIM's exact inverse finds."""
    x0, levels = SMOOTH.sample(3), grid(linspace, LINEAR_BETAS, 30)
    naive = error(SMOOTH, x0, levels, Reversed(dpmpp_2m()))
    first = error(SMOOTH, x0, levels, FixedPoint(), dpmpp_2m())
    fast = error(SMOOTH, x0, levels, BackwardEuler())
    fine = error(SMOOTH, x0, levels, BackwardEuler(fine_substeps=5))
    assert fine < fast < naive < first
    assert fast < 0.02 and naive > 1e-2


@pytest.mark.parametrize("steps", [1, 2])
def test_backward_euler_is_exact_where_every_step_of_the_sampler_has_first_order(steps):
    """One step has no history, and the last step of a run is first order: an order that differs there would show."""
    f = Mixture(LinearVP())
    levels = tuple(f.schedule.level(t) for t in (0.4, 0.3, 0.2)[: steps + 1])
    inversion = invert(f, images(2, 8), levels, BackwardEuler())
    assert known(inversion.converged).all()
    assert known(inversion.residual).max() < 1e-11


@pytest.mark.parametrize("solver", [dpm_2m(), dpmpp_2m(lower_final=False), dpmpp_3m()], ids=["dpm", "2m", "3m"])
def test_backward_euler_takes_other_multistep_solvers(solver):
    x0, levels = SMOOTH.sample(3), grid(log_snr, LINEAR_BETAS, 30)
    fine = error(SMOOTH, x0, levels, BackwardEuler(solver, fine_substeps=5))
    assert fine < error(SMOOTH, x0, levels, FixedPoint(), solver) / 5


def test_backward_euler_spends_two_calls_on_an_estimate_of_second_order():
    """Where the network says one thing of every state, the guess is right and its check the only call of a search."""
    f = Gaussian(LinearVP(), variance=0.0)
    inversion = invert(f, images(1, 4), grid(log_snr, f.schedule, 10), BackwardEuler())
    guesses, checks, second_order = 10, 10, 8
    assert inversion.nfe == guesses + checks + 2 * second_order


@pytest.mark.parametrize("solver", [dpmpp_2m(), EulerAncestral()], ids=["2m", "ancestral"])
def test_the_fixed_point_refuses_what_it_cannot_invert(solver):
    with pytest.raises(UsageError, match="deterministic one-step"):
        FixedPoint(solver)


def test_backward_euler_refuses_noise_and_no_substeps():
    with pytest.raises(UsageError, match="deterministic"):
        BackwardEuler(sde_dpmpp_2m())
    with pytest.raises(UsageError, match="0 substeps"):
        BackwardEuler(fine_substeps=0)


@pytest.mark.parametrize("schedule", ["linear", "flow"])
def test_single_precision_returns_the_picture_to_rounding(schedule):
    """Steps that are solved to 64 roundings leave 5e-5 and 8e-5."""
    f = Mixture(SCHEDULES[schedule])
    inversion = invert(f, images(3, 8).float(), grid(log_snr, f.schedule, 20), FixedPoint())
    assert known(inversion.residual).max() < 1e-5
    assert known(inversion.converged).all()


@pytest.mark.parametrize(("rounding", "solved", "calls"), [(1e-5, True, 15), (1e-3, False, 51)])
def test_a_network_that_rounds_coarsely_ends_the_search(rounding, solved, calls):
    """A solved row stays after a few iterations that do not help; an unsolved one takes them all."""
    seen = []

    def residual(y):
        seen.append(y)
        return ((1 - y + 0.3 * y.sin()) / rounding).round() * rounding + rounding / 3

    y, miss = Anderson().solve(residual, torch.zeros(2, 4))
    assert known(miss <= Anderson().bound(y.dtype)).tolist() == [solved] * 2
    assert known(miss).max() > 1e-6 and (len(seen) <= calls if solved else len(seen) == calls)

"""Inversion: published round trips, exactness of the fixed point, and what is refused."""

import pytest
import torch
from problems import DETERMINISTIC, MIXTURE, MIXTURE_END, MIXTURE_START, SCHEDULES, Gaussian, Mixture

from fastdiff.inversion.fixed_point import FixedPoint, anderson_step
from fastdiff.inversion.invert import invert, unchanged
from fastdiff.inversion.registry import INVERTERS
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Counted
from fastdiff.solvers.dpmpp_2m import dpmpp_2m
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.grid import grid, log_snr, time_uniform
from fastdiff.solvers.guidance import Guided
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integrate import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Flow, LinearVP


def images(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("steps", "there_and_back", "from_exact"),
    [(10, 4.7e-2, 5.1e-2), (20, 8.7e-3, 1.7e-2), (40, 1.10e-3, 4.6e-3), (80, 1.35e-4, 1.2e-3), (160, 1.6e-5, 3.1e-4)],
)
def test_published_errors_of_2m_inversion(steps, there_and_back, from_exact):
    levels = grid(log_snr, MIXTURE.schedule, steps)
    begin = torch.tensor([MIXTURE_START], dtype=torch.float64)
    end = integrate(MIXTURE, dpmpp_2m(), begin, levels).x
    back = integrate(MIXTURE, dpmpp_2m(), end, levels[::-1]).x
    exact = integrate(MIXTURE, dpmpp_2m(), torch.full_like(begin, MIXTURE_END), levels[::-1]).x
    assert abs(back - begin).item() == pytest.approx(there_and_back, rel=0.06)
    assert abs(exact - begin).item() == pytest.approx(from_exact, rel=0.06)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_residual_is_the_round_trip_error_and_shrinks_with_the_steps(name):
    f, x0 = Gaussian(LinearVP()), images(3, 2, 4)
    coarse, fine = (invert(f, x0, grid(log_snr, f.schedule, n), SOLVERS[name](), unchanged).residual for n in (40, 160))
    assert coarse.shape == (3,)
    assert (fine < coarse / 3).all()
    levels = grid(log_snr, f.schedule, 40)
    inverted = invert(f, x0, levels, SOLVERS[name](), unchanged)
    again = integrate(f, SOLVERS[name](), inverted.x, levels).x
    assert inverted.residual[1].item() == pytest.approx(((again - x0)[1].norm() / x0[1].norm()).item())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", [DDIM(), DPMpp2S(), Heun()], ids=["ddim", "2s", "heun"])
def test_fixed_point_inverts_exactly(schedule, solver):
    f = Mixture(SCHEDULES[schedule])
    inverted = invert(f, images(3, 8), grid(log_snr, f.schedule, 20), solver, FixedPoint)
    assert inverted.residual.max() < 1e-10


def test_fixed_point_inverts_a_guided_run():
    schedule = LinearVP()
    f = Guided(Gaussian(schedule, mean=1.0), Gaussian(schedule, mean=-0.3, variance=0.4), scale=4.0)
    levels = grid(log_snr, schedule, 20)
    naive, exact = (invert(f, images(2, 8), levels, DDIM(), INVERTERS[name]) for name in ("reversed", "fixed-point"))
    assert exact.residual.max() < 1e-10
    assert naive.residual.min() > 1e-2


def test_fixed_point_reaches_pure_noise():
    f = Gaussian(Flow(start=1.0))
    levels = grid(time_uniform, f.schedule, 10)
    inverted = invert(f, images(2, 8), levels[1:], DDIM(), FixedPoint)
    assert inverted.residual.max() < 1e-10


def test_acceleration_saves_calls():
    """Plain iteration needs tens of calls a step where Anderson acceleration needs a few."""
    f, levels = Counted(MIXTURE), grid(log_snr, MIXTURE.schedule, 10)
    plain, accelerated = (_calls(f, FixedPoint(DDIM(), iterations=400, window=window), levels) for window in (1, 5))
    assert accelerated < 0.7 * plain


def _calls(f, solver, levels):
    before = f.tally.calls
    integrate(f, solver, images(1, 64), levels[::-1])
    return f.tally.calls - before


def test_anderson_step_solves_a_linear_problem_in_as_many_steps_as_it_has_dimensions():
    matrix = torch.tensor([[0.9, 0.3], [-0.2, 0.5]], dtype=torch.float64)
    target = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    states, misses = [torch.zeros(1, 2, dtype=torch.float64)], []
    for _ in range(4):
        misses.append(target - states[-1] @ matrix.T)
        states.append(states[-1] + anderson_step(states, misses))
    torch.testing.assert_close(states[-1] @ matrix.T, target, rtol=0, atol=1e-10)


def test_an_item_is_inverted_alike_alone_and_in_a_batch():
    x0, levels = images(4, 6), grid(log_snr, MIXTURE.schedule, 8)
    batch = invert(MIXTURE, x0, levels, DDIM(), FixedPoint).x
    for item in range(4):
        alone = invert(MIXTURE, x0[item : item + 1], levels, DDIM(), FixedPoint).x
        torch.testing.assert_close(alone[0], batch[item], rtol=0, atol=1e-12)


def test_single_precision_stops_at_rounding():
    f, levels = Counted(MIXTURE), grid(log_snr, MIXTURE.schedule, 20)
    inverted = invert(f, images(2, 8).float(), levels, DDIM(), FixedPoint)
    assert inverted.residual.max() < 1e-4
    assert f.tally.calls < 20 * 20


@pytest.mark.parametrize("solver", [dpmpp_2m(), EulerAncestral()], ids=["2m", "ancestral"])
def test_fixed_point_refuses_what_it_cannot_invert(solver):
    with pytest.raises(UsageError, match="deterministic one-step"):
        FixedPoint(solver)


def test_grids_that_cannot_be_inverted_are_refused():
    falling = grid(log_snr, MIXTURE.schedule, 4)
    with pytest.raises(UsageError, match="noisiest level first"):
        invert(MIXTURE, images(1, 2), falling[::-1], DDIM(), unchanged)
    with pytest.raises(UsageError, match="sigma above 0"):
        invert(MIXTURE, images(1, 2), grid(log_snr, MIXTURE.schedule, 4, clean=True), DDIM(), unchanged)
    with pytest.raises(UsageError, match="cannot invert"):
        invert(MIXTURE, images(1, 2), falling, EulerAncestral(), unchanged)

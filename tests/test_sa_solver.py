"""SA-Solver: its limits are known solvers, its distribution is the data's, and diffusers has a twin."""

from dataclasses import dataclass
from math import log2

import pytest
import torch
from diffusers import SASolverScheduler
from problems import LINEAR_BETAS, MIXTURE, MIXTURE_END, MIXTURE_START, Gaussian, Mixture, random_state, start

from fastdiff.solvers.dpm_solver import dpmpp_2m, sde_dpmpp_1, sde_dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import half, midpoint, taylor
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.sa_solver import SASolver
from fastdiff.solvers.schedule import LinearVP, from_edm_sigma
from fastdiff.solvers.unipc import UniPC


@pytest.mark.parametrize(
    ("solver", "twin"),
    [
        (SASolver(2, 0, tau=0, slope=midpoint), dpmpp_2m()),
        (SASolver(2, 3, tau=0, slope=midpoint), UniPC(2)),
        (SASolver(1, 0), sde_dpmpp_1()),
        (SASolver(2, 0, slope=taylor), sde_dpmpp_2m(taylor)),
    ],
    ids=["dpmpp-2m", "unipc", "sde-dpmpp-1", "sde-dpmpp-2m"],
)
def test_its_limits_are_known_solvers(solver, twin):
    levels = grid(time_uniform, MIXTURE.schedule, 9)
    ours, theirs = (integrate(MIXTURE, s, random_state(3, 2), levels).x for s in (solver, twin))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("slope", [half, taylor])
@pytest.mark.parametrize(
    ("predictor", "corrector", "order"), [(1, 0, 1), (2, 0, 2), (3, 0, 3), (1, 2, 2), (2, 2, 2), (2, 3, 3), (3, 4, 4)]
)
def test_order_of_the_ode_in_both_directions(predictor, corrector, order, slope):
    solver = SASolver(predictor, corrector, 0, slope, lower_final=False)
    assert solver.order == order and not solver.stochastic
    grids = [grid(log_snr, MIXTURE.schedule, n) for n in (160, 320)]
    for direction, begin, end in ((1, MIXTURE_START, MIXTURE_END), (-1, MIXTURE_END, MIXTURE_START)):
        coarse, fine = (abs(integrate(MIXTURE, solver, start(begin), g[::direction]).x.item() - end) for g in grids)
        assert log2(coarse / fine) == pytest.approx(order, abs=0.2)


def moments(solver_of, steps):
    """Errors of mean and variance at the end of a run on Gaussian data, exactly: every step is affine in its noise."""
    f = Gaussian(LinearVP())
    levels = grid(log_snr, f.schedule, steps)

    def impulse(like, step):
        noise = torch.zeros_like(like)
        noise[step + 1] = 1.0
        return noise

    first, last = levels[0], levels[-1]
    x = torch.full((steps + 2, 1), first.alpha, dtype=torch.float64)
    x[1] += f.total(first) ** 0.5
    end = integrate(f, solver_of(impulse), x, levels).x
    variance = (end[1:] - end[0]).square().sum().item()
    return abs(end[0].item() - last.alpha), abs(variance - f.total(last))


@pytest.mark.parametrize("tau", [0.5, 1.0])
@pytest.mark.parametrize(("predictor", "corrector"), [(1, 0), (2, 0), (2, 2)])
def test_mean_and_variance_of_gaussian_data_are_approached(predictor, corrector, tau):
    """The first-order solver's errors halve with the strides, those of the others fall faster."""

    def solver(noise):
        return SASolver(predictor, corrector, tau, lower_final=False, noise=noise)

    coarse, fine = moments(solver, 100), moments(solver, 200)
    assert fine[0] < 1e-3 and fine[1] < 2e-2
    assert log2(coarse[1] / fine[1]) > (0.9 if predictor == 1 else 1.7)


def test_the_corrector_adds_the_noise_of_its_predictor():
    """With x0 known a step is exact, so its correction must change nothing."""

    @dataclass(frozen=True)
    class Point(Gaussian):
        variance: float = 0.0

    f = Point(LinearVP())
    levels = grid(time_uniform, f.schedule, 6)
    ends = [integrate(f, SASolver(2, c, noise=Noise(3)), random_state(3), levels).x for c in (0, 2)]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tau", [0.0, 1.0])
@pytest.mark.parametrize(("predictor", "corrector"), [(1, 1), (2, 2), (2, 3), (3, 4)])
def test_diffusers_agrees(predictor, corrector, tau):
    scheduler = SASolverScheduler(
        predictor_order=predictor,
        corrector_order=corrector,
        tau_func=lambda t: torch.tensor(tau),
        algorithm_type="data_prediction",
    )
    scheduler.set_timesteps(10)
    f = Mixture(LINEAR_BETAS)
    levels = tuple(from_edm_sigma(LINEAR_BETAS, float(sigma)) for sigma in scheduler.sigmas)
    x = theirs = random_state(2, 3, dtype=torch.float32)
    generator, again = (torch.Generator().manual_seed(5) for _ in range(2))
    for t, level in zip(scheduler.timesteps, levels, strict=False):
        eps = f(theirs.double(), level).eps.float()
        theirs = scheduler.step(eps, t, theirs, generator=generator).prev_sample
    noise = lambda like, step: torch.randn(like.shape, generator=again)  # noqa: E731
    ours = integrate(f, SASolver(predictor, corrector, tau, noise=noise), x, levels).x
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-5)


@pytest.mark.parametrize("options", [{"predictor": 0}, {"corrector": -1}, {"tau": -0.5}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="give 1 or more, 0 or more, 0 or more"):
        SASolver(**options)

"""Properties that every solver shares, beyond its certificates: directions, ends, memory and noise."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from known import known
from problems import (
    DETERMINISTIC,
    MIXTURE,
    MIXTURE_START,
    SCHEDULES,
    STOCHASTIC,
    Gaussian,
    Mixture,
    random_state,
    start,
)

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Network, SingleLevelDenoiser
from fastdiff.solvers.dpm_solver import sde_dpmpp_1, sde_dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import FROM
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.integration import Progress, integrate, is_recordable, steps_of
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sa_solver import SASolver
from fastdiff.solvers.schedule import Flow, LinearVP


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_constant_estimate_is_solved_exactly(name):
    """With x0 = c everywhere, x - alpha c only shrinks with sigma, whatever the order."""
    schedule = LinearVP()

    @dataclass(frozen=True)
    class Constant(SingleLevelDenoiser):
        schedule = LinearVP()

        def __call__(self, x, level):
            return FROM["x0"](torch.full_like(x, 0.3), x, level)

        def fresh(self):
            return self

    levels = grid(time_uniform, schedule, 6)
    x = integrate(Constant(), SOLVERS[name](), start(), levels).x.item()
    t, u = levels[0], levels[-1]
    assert x == pytest.approx(u.sigma / t.sigma * (MIXTURE_START - t.alpha * 0.3) + u.alpha * 0.3, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_grid_to_sigma_zero_ends_on_the_last_clean_estimate(name, schedule):
    f = Gaussian(SCHEDULES[schedule])
    seen = list[Progress]()
    levels = grid(log_snr, f.schedule, 6, clean=True)
    x = integrate(f, SOLVERS[name](), random_state(3), levels, watch=seen.append).x
    before = seen[-2]
    if name == "unipc":
        assert torch.isfinite(x).all()
    else:
        torch.testing.assert_close(x, f(before.x, before.step.u).x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_one_step_to_sigma_zero_returns_the_estimate_of_the_start(name):
    x = integrate(MIXTURE, SOLVERS[name](), start(), grid(time_uniform, MIXTURE.schedule, 1, clean=True)).x
    assert x.item() == pytest.approx(0.2634713251514071, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_flow_run_may_start_without_any_signal(name):
    """At alpha = 0 the estimate is the data mean; with 80 steps the flow still ends near the exact map."""
    f = Gaussian(Flow(start=1.0, end=0.0))
    x = integrate(f, SOLVERS[name](), random_state(5), grid(time_uniform, f.schedule, 80)).x
    if name in DETERMINISTIC:
        expected = f.carry(random_state(5), f.schedule.level(1.0), f.schedule.level(0.0))
        torch.testing.assert_close(x, expected, rtol=0, atol=0.03)
    else:
        assert torch.isfinite(x).all()


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_inversion_may_end_without_any_signal(name):
    f = Gaussian(Flow(start=1.0))
    x = integrate(f, SOLVERS[name](), random_state(5), grid(time_uniform, f.schedule, 40)[::-1]).x
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_two_half_runs_with_carried_state_equal_one_run(name):
    levels = grid(log_snr, MIXTURE.schedule, 8)
    x = random_state(3)
    whole = integrate(MIXTURE, SOLVERS[name](), x, levels).x
    solver = SOLVERS[name]()
    half = integrate(MIXTURE, solver, x, levels, last=3)
    assert torch.equal(integrate(MIXTURE, solver, half.x, levels, first=3, state=half.state).x, whole)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_solvers_refuse_inversion(name):
    with pytest.raises(UsageError, match="cannot invert"):
        integrate(MIXTURE, SOLVERS[name](), start(), grid(log_snr, MIXTURE.schedule, 4)[::-1])


@pytest.mark.parametrize(
    "make", [sde_dpmpp_1, EulerAncestral, SASolver, partial(SASolver, 1, 0), partial(SASolver, 1, 1)]
)
def test_a_first_stochastic_step_is_the_posterior_of_ddpm(make):
    """For a known x0 the step must have the mean and variance of q(x_u | x_t, x0), over any stride."""
    schedule = LinearVP()
    t, u = schedule.level(0.8), schedule.level(0.3)
    clean = torch.tensor([0.4], dtype=torch.float64)

    def step(noise):
        f = Network(lambda x, _: clean, schedule, "x0", timestep=lambda level: 0.0, dtype=torch.float64)
        return integrate(f, make(noise=lambda x, _: torch.full_like(x, noise)), start(), (t, u)).x.item()

    forward = t.alpha / u.alpha
    added = t.sigma**2 - forward**2 * u.sigma**2
    mean = (forward * u.sigma**2 * MIXTURE_START + u.alpha * added * 0.4) / t.sigma**2
    assert step(0.0) == pytest.approx(mean, abs=1e-13)
    assert step(1.0) - step(0.0) == pytest.approx(u.sigma * added**0.5 / t.sigma, abs=1e-13)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_noise_of_a_stochastic_solver_can_be_chosen(name):
    solver: Any = SOLVERS[name]()
    noise = Noise(7)
    assert solver.with_noise(noise) == SOLVERS[name](noise=noise) != solver


def test_transitions_of_recordable_solvers_are_their_steps_without_noise():
    recordable = [solver for solver in (make() for make in SOLVERS.values()) if is_recordable(solver)]
    assert recordable == [sde_dpmpp_1(), sde_dpmpp_2m()]
    f, levels, x = Mixture(LinearVP()), grid(log_snr, LinearVP(), 4), random_state(3)
    for solver in recordable:
        state = solver.init(levels)
        for step in steps_of(levels):
            mean, deviation, after = solver.transition(f, x, step, state)
            x, state = solver.step(f, x, step, state)
            assert torch.equal(x, mean + deviation * known(solver.noise)(mean, step.index + 1)) and deviation > 0
            assert len(state) == len(after)


def test_noise_belongs_to_seed_item_and_step():
    like = torch.empty(3, 5)
    noise = Noise(4)
    assert torch.equal(noise(like, 2)[1], Noise(4, (1,))(like[:1], 2)[0])
    assert torch.equal(noise(like.double(), 2), noise(like, 2).double())
    different = [noise(like, 2)[0], noise(like, 3)[0], noise(like, 2)[1], Noise(5)(like, 2)[0]]
    assert len({tuple(row.tolist()) for row in different}) == 4
    with pytest.raises(UsageError, match="give 0 or more"):
        Noise(-1)
    with pytest.raises(UsageError, match="must agree"):
        Noise(0, (1, 2))(like)


def test_a_watcher_sees_every_step_and_may_stop_the_run():
    seen = list[Progress]()
    levels = grid(log_snr, MIXTURE.schedule, 4)
    run = integrate(MIXTURE, DDIM(), start(), levels, watch=seen.append)
    assert [progress.step for progress in seen] == steps_of(levels)
    assert [(step.index, step.total, step.left) for step in steps_of(levels)] == [(i, 4, 4 - i) for i in range(4)]
    assert [step.reverse for step in reversed(steps_of(levels))] == steps_of(levels[::-1])
    assert seen[-1].x is run.x

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        integrate(MIXTURE, DDIM(), start(), levels, watch=stop)


@pytest.mark.parametrize(
    ("times", "message"),
    [([1.0], "two or more"), ([1.0, 0.5, 0.5], "strictly"), ([1.0, 0.2, 0.5], "strictly"), ([0.0, 0.5], "sigma 0")],
)
def test_bad_grids_are_refused(times, message):
    schedule = LinearVP()
    with pytest.raises(UsageError, match=message):
        integrate(MIXTURE, DDIM(), start(), [schedule.level(t) for t in times])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_cuda_agrees_with_the_cpu(name):
    levels = grid(log_snr, MIXTURE.schedule, 12, clean=True)
    x = random_state(4, 3, 16, 16, dtype=torch.float32)
    cpu = integrate(MIXTURE, SOLVERS[name](), x, levels).x
    cuda = integrate(MIXTURE, SOLVERS[name](), x.cuda(), levels).x
    assert cuda.is_cuda
    torch.testing.assert_close(cuda.cpu(), cpu, rtol=0, atol=5e-4)

"""Parallel runs: the sequential run as their limit, published counts, batches, and what they refuse."""

from typing import Any

import pytest
import torch
from known import known
from problems import (
    DETERMINISTIC,
    DISCRETE,
    MIXTURE,
    MIXTURE_START,
    SCHEDULES,
    STOCHASTIC,
    Gaussian,
    Mixture,
    random_state,
    start,
)
from torch import Tensor

from fastdiff.solvers.dc import DC
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser, Network
from fastdiff.solvers.dode import DODE
from fastdiff.solvers.dode_heun import HeunDODE
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.evodiff import EVODiff
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.iia import IIA, HeunIIA, NoiseIIA
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Flow
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.unipc import UniPC
from fastdiff.solvers.with_teleport import WithTeleport

STEPS = 12


@pytest.mark.parametrize("window", [1, 5, 64])
@pytest.mark.parametrize("schedule", ["linear", "flow", "edm"])
@pytest.mark.parametrize("name", [*DETERMINISTIC, "evodiff"])
def test_tolerance_zero_is_the_sequential_run(name, schedule, window):
    f, solver = Mixture(SCHEDULES[schedule]), SOLVERS[name]()
    levels = grid(log_snr, f.schedule, STEPS)
    grids = [levels, grid(log_snr, f.schedule, STEPS, clean=True), levels[::-1]]
    for each in grids if name in DETERMINISTIC else grids[:2]:
        x = levels[0].sigma * random_state(3, 4)
        counted = CountingDenoiser(f)
        sequential = integrate(counted, solver, x, each).x
        run = integrate_parallel(f, solver, x, each, window=window, tolerance=0.0)
        torch.testing.assert_close(run.x, sequential, rtol=1e-12, atol=1e-12)
        assert run.rounds <= counted.tally.nfe
        if window == 1 and solver.nfe_per_step == 1 and name != "evodiff":
            assert run.rounds == run.evaluations == counted.tally.nfe


def test_the_start_of_a_flow_without_signal_and_a_teleport_that_evaluates_nothing():
    f = Gaussian(Flow(start=1.0))
    levels, x = grid(time_uniform, f.schedule, STEPS), random_state(2, 3)
    teleport = Teleport(torch.ones(3, dtype=x.dtype), torch.eye(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype))
    solvers: tuple[Solver[Any], ...] = (
        UniPC(),
        WithTeleport(dpmpp_2m(), teleport, 3),
        WithTeleport(dpmpp_2m(), teleport, STEPS - 1),
    )
    for solver in solvers:
        run = integrate_parallel(f, solver, x, levels, window=2, tolerance=0.0)
        torch.testing.assert_close(run.x, integrate(f, solver, x, levels).x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "solver",
    [
        DC(UniPC(), (0.9, 1.1) * 6),
        DODE(dpmpp_2m(), ((0.1,), (-0.1,)) * 6),
        IIA(dpmpp_2m(), ((0.1, -0.1),) * STEPS),
        HeunIIA(Heun(), ((0.1, -0.1, 0.05, 0.02),) * STEPS),
        HeunDODE(((0.1, -0.1),) * STEPS),
        NoiseIIA(DDIM(), ((0.1,),) * STEPS),
    ],
)
def test_tuned_solvers_run_in_parallel_too(solver):
    levels, x = grid(log_snr, MIXTURE.schedule, STEPS), random_state(2, 3)
    run = integrate_parallel(MIXTURE, solver, x, levels, window=4, tolerance=0.0)
    torch.testing.assert_close(run.x, integrate(MIXTURE, solver, x, levels).x, rtol=1e-12, atol=1e-12)


PUBLISHED = [
    (1e-3, 8, 15, 105, 1.0e-5),
    (1e-3, 16, 11, 125, 2.4e-6),
    (1e-3, 50, 8, 157, 6.6e-6),
    (0.1, 8, 9, 60, 7.5e-4),
    (0.1, 16, 5, 63, 8.4e-4),
    (0.1, 50, 6, 98, 9.2e-4),
]


@pytest.mark.parametrize(("tolerance", "window", "rounds", "evaluations", "error"), PUBLISHED)
def test_ddim_takes_about_as_many_rounds_as_the_authors_loop(tolerance, window, rounds, evaluations, error):
    """Their loop differs in the index of the yardstick, in the first guess, and by second order in the step."""
    levels, x = grid(time_uniform, MIXTURE.schedule, 50), start(MIXTURE_START)
    run = integrate_parallel(MIXTURE, DDIM(), x, levels, window=window, tolerance=tolerance)
    assert abs(run.rounds - rounds) <= 2
    assert abs(run.evaluations - evaluations) <= 0.15 * evaluations
    assert (run.x - integrate(MIXTURE, DDIM(), x, levels).x).abs().item() <= 2 * error


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m", "unipc", "heun"])
def test_a_tolerance_bounds_the_error_and_saves_rounds(name):
    levels, x = grid(log_snr, MIXTURE.schedule, 40), random_state(4, 16)
    sequential = integrate(MIXTURE, SOLVERS[name](), x, levels).x
    runs = [integrate_parallel(MIXTURE, SOLVERS[name](), x, levels, tolerance=each) for each in (0.0, 1e-3, 0.1)]
    errors = [(run.x - sequential).square().mean().sqrt().item() for run in runs]
    assert errors[0] < 1e-12 and errors[0] < errors[1] < 1e-3 < errors[2] < 0.1
    assert runs[2].rounds < runs[1].rounds < runs[0].rounds <= 40 * SOLVERS[name]().nfe_per_step
    assert runs[2].rounds < 20


@pytest.mark.parametrize("name", ["dpmpp-2m", "unipc", "heun"])
def test_items_of_a_batch_run_as_alone(name):
    levels, x = grid(log_snr, MIXTURE.schedule, 30, clean=True), random_state(4, 2, 3)

    def run(x):
        return integrate_parallel(MIXTURE, SOLVERS[name](), x, levels, window=5, tolerance=0.01)

    together, alone = run(x), [run(row) for row in x[:, None]]
    assert len({each.evaluations for each in alone}) > 1, "the items settle at different rounds"
    assert together.rounds == max(each.rounds for each in alone)
    torch.testing.assert_close(torch.cat([each.x for each in alone]), together.x, rtol=0, atol=1e-12)


def test_a_round_is_one_call_of_a_network():
    calls: list[int] = []

    def net(x, timestep):
        calls.append(len(x))
        return x * timestep[:, None].sin()

    f = CountingDenoiser(Network(net, DISCRETE, "v", lambda level: 3 * level.t, dtype=torch.float64))
    run = integrate_parallel(f, UniPC(), random_state(2, 3), grid(log_snr, DISCRETE, STEPS), window=4)
    assert run.rounds == f.tally.nfe == len(calls) < STEPS
    assert sum(calls) == 2 * run.evaluations > 2 * STEPS


def test_dtype_is_kept_and_gradients_are_those_of_the_sequential_run():
    levels = grid(log_snr, MIXTURE.schedule, STEPS)
    x = random_state(2, 3, dtype=torch.float32)
    assert integrate_parallel(MIXTURE, dpmpp_2m(), x, levels).x.dtype == torch.float32
    x = random_state(2, 3).requires_grad_()
    gradients: list[Tensor] = []
    for end in (
        integrate_parallel(MIXTURE, dpmpp_2m(), x, levels, tolerance=0.0).x,
        integrate(MIXTURE, dpmpp_2m(), x, levels).x,
    ):
        x.grad = None
        end.square().sum().backward()
        gradients.append(known(x.grad))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_estimates_that_are_not_finite_end_the_run():
    f = Network(lambda x, timestep: x * float("nan"), DISCRETE, "eps", DISCRETE.timestep, dtype=torch.float64)
    assert integrate_parallel(f, UniPC(), random_state(2, 3), grid(log_snr, DISCRETE, STEPS)).x.isnan().all()


def test_an_empty_batch_stays_empty():
    run = integrate_parallel(MIXTURE, DDIM(), start()[:0], grid(log_snr, MIXTURE.schedule, 4))
    assert (run.x.shape, run.rounds, run.evaluations) == (start()[:0].shape, 0, 0)


def test_steps_that_choose_their_evaluations_are_refused():
    class Choosy(DDIM):
        def step(self, f, x, step, state):
            return super().step(f, f(x, step.t).x0 if x.mean() > 0 else x, step, state)

    levels, x = grid(log_snr, MIXTURE.schedule, 4), torch.tensor([[-0.05]], dtype=torch.float64)
    with pytest.raises(UsageError, match="Choosy, whose steps vary"):
        integrate_parallel(MIXTURE, Choosy(), x, levels)


@pytest.mark.parametrize(
    ("solver", "reverse", "options", "message"),
    [
        *((SOLVERS[name](), False, {}, "adds noise: give a deterministic solver") for name in STOCHASTIC),
        (EVODiff(), True, {}, "it only samples"),
        (DDIM(), False, {"window": 0}, "a window of 0"),
        (DDIM(), False, {"window": 1.5}, "a window of 1.5 steps"),
        (DDIM(), False, {"tolerance": -0.1}, "tolerance -0.1"),
        (DDIM(), False, {"tolerance": float("nan")}, "tolerance nan"),
    ],
)
def test_what_does_not_run_in_parallel_is_refused(solver, reverse, options, message):
    levels = grid(log_snr, MIXTURE.schedule, 4)
    with pytest.raises(UsageError, match=message):
        integrate_parallel(MIXTURE, solver, start(), levels[::-1] if reverse else levels, **options)

"""What all solvers with fitted numbers share: grids, memory, batches, gradients, calls and storage."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from problems import MIXTURE, Gaussian, random_state, start
from torch import Tensor

from fastdiff.solvers.dc import DC
from fastdiff.solvers.dc_cascade import Cascade
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.dode import DODE
from fastdiff.solvers.dode_heun import HeunDODE
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import EPS
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.iia import IIA, HeunIIA, NoiseIIA
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.schedule import Flow
from fastdiff.solvers.unipc import UniPC

STEPS = 6


def numbers(columns):
    """Small numbers (STEPS, columns)."""
    return torch.tensor([[0.1 * (i - 2) - 0.03 * k for k in range(columns)] for i in range(STEPS)], dtype=torch.float64)


Made = tuple[Callable[[Tensor], Solver[Any]], int, Solver[Any]]  # from numbers, numbers a step, the plain solver
MAKE: dict[str, Made] = {
    "dc": (lambda n: DC(UniPC(3), tuple(1 + row[0] for row in n)), 1, UniPC(3)),
    "dc noise": (lambda n: DC(UniPC(2, EPS), tuple(1 + row[0] for row in n)), 1, UniPC(2, EPS)),
    "dc 2m": (
        lambda n: DC(UniPC(2, corrector=False), tuple(1 + row[0] for row in n)),
        1,
        UniPC(2, corrector=False),
    ),
    "dode ddim": (lambda n: DODE(DDIM(), rows(n)), 1, DDIM()),
    "dode 2m": (lambda n: DODE(dpmpp_2m(), rows(n)), 1, dpmpp_2m()),
    "dode heun": (lambda n: HeunDODE(rows(n)), 2, Heun()),
    "iia ddim": (lambda n: IIA(DDIM(), rows(n)), 2, DDIM()),
    "iia 2m": (lambda n: IIA(dpmpp_2m(), rows(n)), 2, dpmpp_2m()),
    "iia noise": (lambda n: NoiseIIA(DDIM(), rows(n)), 1, DDIM()),
    "iia heun": (lambda n: HeunIIA(Heun(), rows(n)), 4, Heun()),
}


def rows(tensor):
    return tuple(tuple(row) for row in tensor)


def made(name, scale=1.0):
    make, columns, _ = MAKE[name]
    return make(scale * numbers(columns))


@pytest.fixture(params=MAKE)
def name(request):
    return request.param


LEVELS = grid(log_snr, MIXTURE.schedule, STEPS)


@pytest.mark.parametrize("clean", [False, True])
def test_neutral_numbers_leave_the_plain_solver_bit_by_bit(name, clean):
    levels = grid(time_uniform, MIXTURE.schedule, STEPS, clean=clean)
    plain = integrate(MIXTURE, MAKE[name][2], random_state(5), levels).x
    fitted, other = (integrate(MIXTURE, made(name, scale), random_state(5), levels).x for scale in (0.0, 1.0))
    assert torch.equal(fitted, plain)
    assert (other - plain).abs().max() > 1e-4


def test_grids_of_another_direction_or_length_are_refused(name):
    with pytest.raises(UsageError, match="cannot invert"):
        integrate(MIXTURE, made(name), start(), LEVELS[::-1])
    with pytest.raises(UsageError, match="6 steps on a grid of 5"):
        integrate(MIXTURE, made(name), start(), LEVELS[1:])


def test_two_half_runs_with_carried_state_equal_one_run(name):
    solver, x = made(name), random_state(3)
    whole = integrate(MIXTURE, solver, x, LEVELS).x
    half = integrate(MIXTURE, solver, x, LEVELS, last=3)
    assert torch.equal(integrate(MIXTURE, solver, half.x, LEVELS, first=3, state=half.state).x, whole)
    assert not solver.one_step


def test_an_item_is_solved_alike_alone_and_in_a_batch(name):
    x = random_state(4, 2, 3)
    batch = integrate(MIXTURE, made(name), x, LEVELS).x
    for item in range(4):
        alone = integrate(MIXTURE, made(name), x[item : item + 1], LEVELS).x
        torch.testing.assert_close(alone[0], batch[item], rtol=0, atol=1e-14)


def test_gradients_flow_through_states_and_numbers(name):
    make, columns, _ = MAKE[name]

    def run(x, own):
        return integrate(MIXTURE, make(own), x, LEVELS).x

    assert torch.autograd.gradcheck(run, (random_state(2).requires_grad_(), numbers(columns).requires_grad_()))


def test_calls_are_those_of_the_plain_solver(name):
    for levels in (LEVELS, grid(log_snr, MIXTURE.schedule, STEPS, clean=True)):
        counts = []
        for solver in (made(name), MAKE[name][2]):
            f = CountingDenoiser(MIXTURE)
            integrate(f, solver, start(), levels)
            counts.append(f.tally.nfe)
        assert counts[0] == counts[1]


def test_a_flow_run_may_start_without_signal_and_end_without_noise(name):
    f = Gaussian(Flow(start=1.0, end=0.0))
    x = integrate(f, made(name), random_state(5), grid(time_uniform, f.schedule, STEPS)).x
    assert x.isfinite().all()


def test_states_keep_their_dtype(name):
    x = integrate(MIXTURE, made(name), random_state(5, dtype=torch.float32), LEVELS).x
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.double(), integrate(MIXTURE, made(name), random_state(5), LEVELS).x, rtol=0, atol=1e-4)


def test_stored_numbers_come_back(name):
    solver = made(name)
    inner = () if isinstance(solver, HeunDODE) else (solver.inner,)
    again = type(solver).from_tensors(solver.tensors(), *inner)
    runs = [integrate(MIXTURE, each, random_state(3), LEVELS).x for each in (solver, again)]
    assert torch.equal(*runs)


@pytest.mark.parametrize(
    "damage",
    [
        lambda n: {},
        lambda n: {key: value.nan_to_num() / 0 for key, value in n.items()},
        lambda n: {key: value.unsqueeze(-1) for key, value in n.items()},
        lambda n: {key: value[:0] for key, value in n.items()},
        lambda n: {key: value.long() for key, value in n.items()},
        lambda n: {key: value.sum() for key, value in n.items()},
    ],
)
def test_damaged_numbers_are_refused(name, damage):
    solver = made(name)
    inner = () if isinstance(solver, HeunDODE) else (solver.inner,)
    with pytest.raises(UsageError, match="damaged"):
        type(solver).from_tensors(damage(solver.tensors()), *inner)
    cascade = Cascade(tuple(map(float, range(36))))
    assert Cascade.from_tensors(cascade.tensors()) == cascade
    with pytest.raises(UsageError, match="damaged"):
        Cascade.from_tensors(damage(cascade.tensors()))

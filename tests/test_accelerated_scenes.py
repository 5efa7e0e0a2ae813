"""Accelerations on the bundled model of scenes: off they are the sequential run, and items run as alone."""

from typing import Any

import pytest
import torch

from fastdiff.models.sampling_problem import SamplingProblem, load_sampling_problem
from fastdiff.solvers.denoiser import CountingDenoiser, Tally
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.grids import grid, linspace
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.sada import SADA
from fastdiff.solvers.unipc import UniPC

STEPS = 5


def load(guidance: float) -> SamplingProblem:
    return load_sampling_problem("scenes", guidance=guidance, dtype=torch.float64)


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@torch.no_grad()
def test_switched_off_they_are_the_sequential_run(guidance):
    problem = load(guidance)
    f, x = problem.batch([0], held=True)
    x, levels = x.double(), grid(linspace, problem.schedule, STEPS, clean=True)
    solvers: tuple[Solver[Any], ...] = (dpmpp_2m(), UniPC())
    for solver in solvers:
        sequential = integrate(f, solver, x, levels).x
        skipping = integrate(f, SADA(solver, longest=0), x, levels).x
        parallel = integrate_parallel(f, solver, x, levels, window=3, tolerance=0.0).x
        assert sequential.dtype == torch.float64
        torch.testing.assert_close(skipping, sequential, rtol=0, atol=1e-6)
        torch.testing.assert_close(parallel, sequential, rtol=0, atol=1e-6)


@torch.no_grad()
def test_items_of_a_batch_of_sixteen_run_as_alone():
    problem = load(4.5)
    levels = grid(linspace, problem.schedule, STEPS, clean=True)
    tally = Tally()

    def run(items):
        f, x = problem.batch(items, held=True)
        counted = CountingDenoiser(f, tally)
        skipping = integrate(counted, SADA(dpmpp_2m(), begin=0.0, end=1.0), x.double(), levels).x
        return skipping, integrate_parallel(f, dpmpp_2m(), x.double(), levels, window=2, tolerance=0.1).x

    together, alone = run(range(16)), {item: run([item]) for item in (0, 7, 15)}
    for item, ends in alone.items():
        for whole, single in zip(together, ends, strict=True):
            torch.testing.assert_close(whole[item : item + 1], single, rtol=0, atol=1e-5)
    assert tally.nfe < 4 * STEPS, "nothing was skipped"

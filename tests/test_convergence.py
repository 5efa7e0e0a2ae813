"""Published values, orders of convergence and exact flows of the deterministic solvers."""

from math import log2
from typing import Any

import pytest
import torch
from problems import DETERMINISTIC, MIXTURE, SCHEDULES, Gaussian, random_state, start

from fastdiff.solvers.certificates import Candidate, order
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.dpm_solver import dpm_2m, dpmpp_2m, dpmpp_3m
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.exponential import EPS, X0, half, midpoint, moments, taylor, weights
from fastdiff.solvers.grids import grid, log_snr, time_quadratic, time_uniform
from fastdiff.solvers.integration import Solver, integrate
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Flow, LinearVP
from fastdiff.solvers.unipc import UniPC

GOLDEN: dict[str, tuple[Solver[Any], int, float, float, float]] = {
    "ddim": (DDIM(), 10, 0.8419461035, 0.8545509530, 0.8709212241),
    "2m, no lower final": (dpmpp_2m(lower_final=False), 10, 0.9588844291, 1.0318735198, 0.9444434177),
    "2m": (dpmpp_2m(), 10, 0.9556132064, 0.8922809200, 0.9284342842),
    "3m published": (dpmpp_3m(published=True), 10, 0.9518269622, 0.8979061993, 0.9106572495),
    "3m": (dpmpp_3m(), 10, 0.9444139412, 0.8990095932, 0.9027982823),
    "eps 2m": (dpm_2m(), 10, 0.9124654659, 0.8853652068, 0.9122871162),
    "eps 3m published": (Multistep(3, EPS, curvature=0.5), 10, 0.9150052666, 0.8875296287, 0.9113892531),
    "2s": (DPMpp2S(), 5, 0.8729544569, 0.8550923272, 0.8933792683),
    "unipc-3 bh1": (UniPC(3, slope=half), 10, 0.9165432521, 0.9049124344, 0.9044417195),
    "unipc-3 bh2": (UniPC(3), 10, 0.9188236681, 0.8959718635, 0.9028377129),
    "unipc-2 bh2": (UniPC(2), 10, 0.9474274356, 0.8945837070, 0.9253073265),
    "unipc-3 bh1 noise": (UniPC(3, EPS, half), 10, 0.9208350190, 0.8797698519, 0.9214593627),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name):
    solver, steps, *expected = GOLDEN[name]
    for spacing, value in zip((log_snr, time_uniform, time_quadratic), expected, strict=True):
        x = integrate(MIXTURE, solver, start(), grid(spacing, MIXTURE.schedule, steps)).x
        assert x.item() == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize(
    ("solver", "steps", "error"),
    [
        *[(dpmpp_2m(), n, e) for n, e in [(5, -0.16316), (10, -0.065134), (20, -0.010497), (80, 0.002317)]],
        *[(DDIM(), n, e) for n, e in [(5, -0.16924), (10, -0.09112), (20, -0.04786), (80, -0.01254)]],
    ],
)
def test_golden_values_of_flow_dpm_solver(solver, steps, error):
    schedule = Flow(shift=3.0, end=0.0)
    f, levels = Gaussian(schedule), grid(time_uniform, schedule, steps)
    x = integrate(f, solver, start(), levels).x
    exact = f.carry(start(), levels[0], levels[-1])
    assert exact.item() == pytest.approx(1.34994994508, abs=1e-10)
    assert x.item() - exact.item() == pytest.approx(error, abs=6e-6)


def test_grid_of_flow_dpm_solver():
    levels = grid(time_uniform, Flow(shift=3.0, end=0.0), 4)
    assert [level.sigma for level in levels] == pytest.approx([0.999666, 0.89964, 0.749625, 0.499667, 0], abs=5e-7)


VARIANTS: dict[str, tuple[Solver[Any], int]] = {  # of registered solvers, which have certificates
    "2m taylor": (dpmpp_2m(taylor), 2),
    "3m published": (dpmpp_3m(published=True), 2),
    "unip-2": (UniPC(2, corrector=False), 2),
    "unip-3": (UniPC(3, corrector=False), 3),
    "unipc-1": (UniPC(1), 2),
    "unipc-2 noise": (UniPC(2, EPS), 3),
    "unipc-2 vary-coeff": (UniPC(2, slope=taylor), 3),
    "unipc-3": (UniPC(3, slope=half), 4),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_order_of_convergence_in_both_directions(name):
    solver, claimed = VARIANTS[name]
    verdict = order(Candidate(lambda: solver, claimed))
    assert verdict.passed, verdict


def test_high_order_unipc_reaches_its_order():
    f, solver, x = Gaussian(LinearVP()), UniPC(4, lower_final=False), start()

    def error(steps):
        levels = grid(log_snr, f.schedule, steps)
        return (integrate(f, solver, x, levels).x - f.carry(x, levels[0], levels[-1])).abs().item()

    assert log2(error(160) / error(320)) == pytest.approx(5, abs=0.15)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_exact_flow_is_approached_on_every_schedule_in_both_directions(name, schedule):
    f = Gaussian(SCHEDULES[schedule])
    x = random_state(4)

    def error(steps, direction):
        levels = grid(log_snr, f.schedule, steps)[::direction]
        return (integrate(f, SOLVERS[name](), x, levels).x - f.carry(x, levels[0], levels[-1])).abs().max()

    ratio = {1: 3.6, 2: 9}[min(SOLVERS[name]().order, 2)]
    for direction in (1, -1):
        assert error(320, direction) < error(80, direction) / ratio


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("steps", [5, 20, 50])
def test_single_precision_is_enough(name, steps):
    levels = grid(log_snr, MIXTURE.schedule, steps)
    wide, narrow = (
        integrate(MIXTURE, SOLVERS[name](), random_state(9, dtype=dtype), levels).x
        for dtype in (torch.float64, torch.float32)
    )
    assert narrow.dtype == torch.float32
    gain = 10 if (name, steps) == ("dpm-3", 5) else 1  # of two steps of 5 in lam, on what the network's answer is off
    assert (wide - narrow).abs().max() < 1e-4 * gain


def test_second_order_unip_with_b2_is_dpmpp_2m():
    levels = grid(time_uniform, MIXTURE.schedule, 9)
    ours = integrate(MIXTURE, UniPC(2, corrector=False), random_state(5), levels).x
    torch.testing.assert_close(ours, integrate(MIXTURE, dpmpp_2m(), random_state(5), levels).x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", [X0, EPS])
@pytest.mark.parametrize("order", [3, 4, 5])
def test_unip_is_exact_for_polynomials(form, order):
    """Weights of order p against numerical integration of a polynomial of degree p - 1 over the step."""
    hh = -0.7 if form is X0 else 0.7
    nodes = [-1.0, -1.7, -3.1, -3.9][: order - 1]
    r = torch.linspace(0, 1, 2001, dtype=torch.float64)

    def polynomial(r):
        return sum((k + 1) * r**k for k in range(order))

    kernel = hh * torch.exp(hh * (1 - r))
    exact = torch.trapezoid(kernel * polynomial(r), r).item()
    got = sum(w * polynomial(node) for w, node in zip(weights(hh, nodes, midpoint), [0.0, *nodes], strict=True))
    assert got == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("hh", [1e-9, -1e-3, 0.4, -0.999, 0.999, 1.0, -3.0, 12.0])
def test_moments_keep_their_digits(hh):
    from fractions import Fraction
    from math import factorial

    exact = [float(sum(Fraction(hh) ** m / factorial(m + k) for m in range(1, 80))) for k in range(5)]
    assert moments(hh, 4) == pytest.approx(exact, rel=1e-11)

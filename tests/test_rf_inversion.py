"""RF-Inversion against its differential equations on Gaussian data, where these have solutions."""

from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import pytest
import torch
from problems import Gaussian, Mixture

from fastdiff.inversion.inversion import invert, regenerate
from fastdiff.inversion.inversion_file import InversionSettings, load_inversion, save_inversion
from fastdiff.inversion.reversed import Reversed
from fastdiff.inversion.rf_inversion import ControlledFlow, RFInversion
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import Flow, LinearVP

FLOW = Flow(shift=3.0, start=0.9)
GAUSSIAN = Gaussian(FLOW)  # of mean 1 and variance 1/4
MIXTURE = Mixture(FLOW)


def levels(steps: int) -> Grid:
    return grid(time_uniform, FLOW, steps)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def to_noise(x: torch.Tensor, noise: torch.Tensor, gamma: float, steps: Grid) -> torch.Tensor:
    """The solution of dY = [(1 - gamma) u + gamma (noise - Y) / alpha] dsigma at the noisiest level.

    For z = Y - alpha mean it is dz = [((1 - gamma) T' / 2 T - gamma / alpha) z + gamma noise / alpha] dsigma, T being
    the variance of states: linear, with the homogeneous solution h = T^((1 - gamma) / 2) alpha^gamma.
    """
    low, high = steps[-1], steps[0]

    def h(sigma: torch.Tensor) -> torch.Tensor:
        alpha = 1 - sigma
        return (alpha**2 * GAUSSIAN.variance + sigma**2) ** ((1 - gamma) / 2) * alpha**gamma

    sigmas = torch.linspace(low.sigma, high.sigma, 20001, dtype=torch.float64)
    driven = torch.trapezoid(gamma / ((1 - sigmas) * h(sigmas)), sigmas)
    z = h(sigmas[-1]) * ((x - low.alpha * GAUSSIAN.mean) / h(sigmas[0]) + driven * noise)
    return high.alpha * GAUSSIAN.mean + z


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_inversion_solves_its_equation(gamma: float) -> None:
    """With the order of Euler's rule, but for gamma 1: a line."""
    x, noise = images(2, 8), Noise(4)(images(2, 8), 0)
    errors = []
    for steps in (200, 400):
        found = invert(GAUSSIAN, x, levels(steps), RFInversion(gamma, noise=Noise(4)), measure=False)
        errors.append((found.x - to_noise(x, noise, gamma, levels(steps))).abs().max().item())
    if gamma == 1:
        assert max(errors) < 1e-5  # of the trapezoid rule
    else:
        assert errors[1] < 0.05 and log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("eta", [0.0, 0.4, 0.9])
def test_sampling_solves_its_equation(eta: float) -> None:
    """Towards the mean of the states, z = X - alpha mean falls with T^((1 - eta) / 2) (sigma - end)^eta."""
    low = levels(10)[-1]
    picture, x, middle = torch.full((2, 8), low.alpha * GAUSSIAN.mean, dtype=torch.float64), images(2, 8), 0.75
    errors = []
    for steps in (400, 800):
        run, at = levels(steps), round(middle * steps)
        solver = RFInversion(eta=eta, stop=1.0).sampler(picture, run)
        found = integrate(GAUSSIAN, solver, x, run, last=at).x
        t, u = run[0], run[at]
        shrunk = (GAUSSIAN.total(u) / GAUSSIAN.total(t)) ** ((1 - eta) / 2)
        shrunk *= ((u.sigma - low.sigma) / (t.sigma - low.sigma)) ** eta
        exact = u.alpha * GAUSSIAN.mean + shrunk * (x - t.alpha * GAUSSIAN.mean)
        errors.append((found - exact).abs().max().item())
    assert errors[1] < 0.01 and log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("steps", [1, 2, 28])
def test_full_control_returns_the_picture(steps: int) -> None:
    x = images(3, 8)
    inverter = RFInversion(eta=1.0, stop=1.0)
    found = invert(MIXTURE, x, levels(steps), inverter)
    assert (regenerate(MIXTURE, found) - x).abs().max() < 1e-12
    assert (regenerate(MIXTURE, found, copies=2) - x.repeat(2, 1)).abs().max() < 1e-12


def test_the_papers_control_stays_nearer_to_the_picture_than_none() -> None:
    """And does not return it: the method gives up the picture for the prompt."""
    x = images(3, 8)
    far, near = (
        (regenerate(MIXTURE, invert(MIXTURE, x, levels(28), RFInversion(eta=eta))) - x).abs().mean()
        for eta in (0.0, 0.9)
    )
    assert 1e-3 < near < far


def test_without_control_it_is_the_reversed_solver() -> None:
    x = images(3, 8)
    plain = invert(MIXTURE, x, levels(10), Reversed())
    found = invert(MIXTURE, x, levels(10), RFInversion(gamma=0.0, eta=0.0))
    torch.testing.assert_close(found.trajectory, plain.trajectory, rtol=0, atol=1e-12)
    torch.testing.assert_close(regenerate(MIXTURE, found), regenerate(MIXTURE, plain), rtol=0, atol=1e-12)


def test_control_acts_from_start_to_stop() -> None:
    x, target = images(2, 8), torch.zeros(2, 8, dtype=torch.float64)
    run, controlled = levels(8), []
    for start, stop in ((0.25, 0.75), (0.0, 0.0)):
        states: list[torch.Tensor] = []
        solver = ControlledFlow(target, run[-1].sigma, 1.0, start, stop)
        integrate(MIXTURE, solver, x, run, watch=lambda now, states=states: states.append(now.x))  # type: ignore[misc]
        controlled.append(states)
    assert [torch.equal(*pair) for pair in zip(*controlled, strict=True)] == [True] * 2 + [False] * 6
    on_line = [(a / b).std() for a, b in zip(controlled[0][2:6], controlled[0][1:5], strict=True)]
    assert max(on_line) < 1e-12  # the line to zero


def test_other_noise_is_another_inversion() -> None:
    x = images(2, 8)
    first, second = (invert(MIXTURE, x, levels(10), RFInversion(noise=Noise(seed))).x for seed in (1, 2))
    assert (first - second).abs().max() > 0.1


def test_an_inversion_file_regenerates_alike(tmp_path: Path) -> None:
    x, run = images(2, 8), levels(6)
    found = invert(MIXTURE, x, run, RFInversion(), measure=False)
    setting = InversionSettings("rf-inversion", ("", ""), 0.0)
    save_inversion(tmp_path / "made", found, setting)
    loaded, read = load_inversion(tmp_path / "made", FLOW)
    assert read == setting and torch.equal(regenerate(MIXTURE, loaded), regenerate(MIXTURE, found))
    other = replace(found, solver=RFInversion(eta=0.5).sampler(x, run))
    with pytest.raises(UsageError, match="only named solvers are stored"):
        save_inversion(tmp_path / "other", other, setting)


@pytest.mark.parametrize("values", [{"gamma": 1.1}, {"eta": -0.1}, {"start": 0.5, "stop": 0.2}, {"stop": 2.0}])
def test_numbers_outside_their_ranges_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="give numbers from 0 to 1"):
        RFInversion(**values)


def test_models_that_are_no_flow_are_refused() -> None:
    f = Gaussian(LinearVP())
    with pytest.raises(UsageError, match="needs a flow model"):
        invert(f, images(1, 8), grid(time_uniform, f.schedule, 4), RFInversion())

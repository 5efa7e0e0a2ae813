"""Methods that give the picture back for any network: edit-friendly noise maps, and O-BELM with its pair."""

from dataclasses import replace
from itertools import pairwise
from math import log2, sqrt

import pytest
import torch
from known import known
from problems import LINEAR_BETAS, MIXTURE, MIXTURE_END, MIXTURE_START, SCHEDULES, SMOOTH, STIFF, Gaussian, start

from fastdiff.inversion.edit_friendly import EditFriendly, ledits
from fastdiff.inversion.inversion import invert, regenerate
from fastdiff.inversion.obelm import OBELM
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m, sde_dpmpp_1
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, linspace, log_snr, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import Flow


def maps(inversion):
    return inversion.solver.noise.z


def test_the_steps_of_the_maps_are_those_of_ddpm():
    """Against the textbook form with eta 1, from the estimate and the noise (Song et al. 2021, eq. 12 and 16)."""
    x0, levels = SMOOTH.sample(2), grid(linspace, LINEAR_BETAS, 6)
    inversion = invert(SMOOTH, x0, levels, EditFriendly())
    for i, (t, u) in enumerate(pairwise(levels)):
        estimate = SMOOTH(inversion.trajectory[i], t)
        variance = (u.sigma / t.sigma) ** 2 * (1 - (t.alpha / u.alpha) ** 2)
        mean = u.alpha * estimate.x0 + sqrt(u.sigma**2 - variance) * estimate.eps
        expected = (inversion.trajectory[i + 1] - mean) / sqrt(variance)
        torch.testing.assert_close(maps(inversion)[i], expected, rtol=1e-9, atol=1e-9)


def test_every_level_is_noised_on_its_own():
    x0, levels = torch.zeros(1, 20_000, dtype=torch.float64), grid(linspace, LINEAR_BETAS, 4)
    states = invert(MIXTURE, x0, levels, EditFriendly()).trajectory[:-1, 0]
    noise = states / torch.tensor([[level.sigma] for level in levels[:-1]], dtype=torch.float64)
    torch.testing.assert_close(torch.cov(noise), torch.eye(4, dtype=torch.float64), rtol=0, atol=0.03)


@pytest.mark.parametrize("steps", [10, 20, 50])
@pytest.mark.parametrize("inverter", [EditFriendly(), ledits()], ids=["edit-friendly", "ledits"])
def test_maps_are_wider_than_noise_and_pull_against_their_neighbours(inverter, steps):
    """Published for DDPM's steps: deviation above 1, largest next to the picture, correlation around -0.45."""
    inversion = invert(SMOOTH, SMOOTH.sample(60), grid(linspace, LINEAR_BETAS, steps), inverter)
    z = maps(inversion).flatten(1)  # (N, B * d)
    assert torch.isfinite(z).all()
    assert z.std() > 1 and z.std(1).argmax() == steps - 1
    assert -0.6 < torch.corrcoef(z).diagonal(offset=1).mean() < -0.2


def test_another_seed_gives_other_maps_of_the_same_picture():
    x0, levels = SMOOTH.sample(1), grid(linspace, LINEAR_BETAS, 10)
    first, second = (invert(SMOOTH, x0, levels, EditFriendly(noise=Noise(seed))) for seed in (1, 2))
    assert (maps(first) - maps(second)).abs().max() > 1
    assert known(first.residual).max() < 1e-12 and known(second.residual).max() < 1e-12


def test_sampling_in_another_order_than_the_maps_misses_the_picture():
    """What the ports of LEDITS++ and SCA do at the last step."""
    for f in (SMOOTH, STIFF):
        x0, levels = f.sample(3), grid(linspace, LINEAR_BETAS, 10)
        inversion = invert(f, x0, levels, ledits())
        assert isinstance(inversion.solver, Multistep)
        other = replace(inversion, solver=replace(inversion.solver, lower_final=False))
        assert (regenerate(f, other) - x0).abs().max() > 1e-3
        assert (regenerate(f, inversion) - x0).abs().max() < 1e-12


def test_maps_on_flow_and_edm_levels():
    for name in ("flow", "edm", "cosine"):
        f = Gaussian(SCHEDULES[name])
        inversion = invert(f, SMOOTH.sample(2), grid(log_snr, f.schedule, 10), ledits())
        assert known(inversion.residual).max() < 1e-12
    f = Gaussian(Flow(start=1.0))
    inversion = invert(f, SMOOTH.sample(2), grid(time_uniform, f.schedule, 10), EditFriendly())
    assert known(inversion.residual).max() < 1e-12


def test_maps_of_a_solver_without_noise_are_refused():
    with pytest.raises(UsageError, match="stochastic"):
        EditFriendly(dpmpp_2m())
    assert sde_dpmpp_1().stochastic


@pytest.mark.parametrize("spacing", [log_snr, time_uniform])
def test_obelm_has_second_order(spacing):
    def miss(steps):
        return abs(integrate(MIXTURE, OBELM(), start(), grid(spacing, MIXTURE.schedule, steps)).x.item() - MIXTURE_END)

    assert log2(miss(80) / miss(160)) == pytest.approx(2, abs=0.1)


def test_obelm_has_second_order_towards_noise():
    def miss(steps):
        levels = grid(log_snr, MIXTURE.schedule, steps)[::-1]
        return abs(integrate(MIXTURE, OBELM(), start(value=MIXTURE_END), levels).x.item() - MIXTURE_START)

    assert log2(miss(80) / miss(160)) == pytest.approx(2, abs=0.1)


def test_obelm_begins_as_ddim_and_may_end_without_noise():
    levels = grid(linspace, LINEAR_BETAS, 10, clean=True)
    x = torch.randn(2, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        integrate(SMOOTH, OBELM(), x, levels[:2]).x, integrate(SMOOTH, DDIM(), x, levels[:2]).x, rtol=0, atol=0
    )
    exact = integrate(SMOOTH, DDIM(), x, grid(linspace, LINEAR_BETAS, 2000, clean=True)).x
    far, near = (
        (integrate(SMOOTH, OBELM(), x, grid(linspace, LINEAR_BETAS, n, clean=True)).x - exact).abs().max()
        for n in (20, 100)
    )
    assert near < far / 3


def test_obelm_turns_round_with_the_memory_of_a_run():
    levels = grid(linspace, LINEAR_BETAS, 20)
    x = torch.randn(2, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    down = integrate(SMOOTH, OBELM(), x, levels)
    up = integrate(SMOOTH, OBELM(), down.x, levels[::-1], state=down.state)
    torch.testing.assert_close(up.x, x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_obelm_needs_its_pair(steps):
    for f in (SMOOTH, STIFF):
        x0, levels = f.sample(3), grid(linspace, LINEAR_BETAS, steps)
        inversion = invert(f, x0, levels, OBELM())
        assert inversion.x.abs().max() < 20
        assert (regenerate(f, inversion) - x0).abs().max() < 1e-10
        alone = replace(inversion, solver=OBELM())
        assert (regenerate(f, alone) - x0).abs().max() > 1e-3


def test_obelm_samples_at_a_call_a_step_but_the_first():
    f, levels = CountingDenoiser(SMOOTH), grid(linspace, LINEAR_BETAS, 10)
    inversion = invert(f, SMOOTH.sample(1), levels, OBELM(), measure=False)
    assert inversion.nfe == 10
    regenerate(f, inversion)
    assert f.tally.nfe == 19


def test_obelm_reaches_pure_noise():
    f = Gaussian(Flow(start=1.0))
    levels = grid(time_uniform, f.schedule, 20)
    assert torch.isfinite(integrate(f, OBELM(), SMOOTH.sample(2), levels[::-1]).x).all()
    assert torch.isfinite(integrate(f, OBELM(), SMOOTH.sample(2), levels).x).all()

"""The sampler of consistency models, against LCMScheduler of diffusers and in closed form."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler
from torch import Tensor

from fastdiff.inversion.edit_friendly import EditFriendly
from fastdiff.inversion.inversion import invert, regenerate
from fastdiff.solvers.closed_form import SCHEDULES, Gaussian, Mixture
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.lcm import LCM, consistency_points
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.schedule import DiscreteVP

BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2  # of Stable Diffusion
SCHEDULE = DiscreteVP.from_betas(BETAS.tolist())
F = Mixture(SCHEDULE)


def start(rows: int = 2) -> Tensor:
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_run_equals_the_scheduler_of_diffusers(steps: int) -> None:
    peer = LCMScheduler(trained_betas=BETAS.tolist(), prediction_type="epsilon", clip_sample=False)
    peer.set_timesteps(steps)
    levels = grid(consistency_points, SCHEDULE, steps, clean=True)
    assert [round(SCHEDULE.timestep(level)) for level in levels[:-1]] == peer.timesteps.tolist()
    noise = Noise(3)
    ours = integrate(F, LCM(noise), start(), levels).x
    x, generator = start(), torch.Generator()
    for number, (timestep, level) in enumerate(zip(peer.timesteps, levels[:-1], strict=True)):
        eps = F(x, level).eps
        generator.manual_seed(0)
        drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        out = peer.step(eps, timestep, x, generator=generator.manual_seed(0))
        last = number == steps - 1
        x = out.prev_sample if last else out.prev_sample + levels[number + 1].sigma * (noise(x, number + 1) - drawn)
    assert torch.allclose(ours, x, atol=1e-4)  # the boundary weights that are left out, and a table in float32


def test_one_step_is_the_estimate_alone() -> None:
    levels = grid(consistency_points, SCHEDULE, 1, clean=True)
    assert torch.equal(integrate(F, LCM(), start(), levels).x, F(start(), levels[0]).x0)


def test_points_fall_in_strides() -> None:
    points = consistency_points(SCHEDULE, 50)
    timesteps = [round(SCHEDULE.timestep(level)) for level in points]
    assert timesteps[-1] == 19 and {a - b for a, b in pairwise(timesteps)} == {20}


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.58, 0.85])
def test_points_below_a_strength_are_those_of_diffusers(strength: float) -> None:
    peer = LCMScheduler(trained_betas=BETAS.tolist())
    peer.set_timesteps(4, strength=strength)
    points = consistency_points(SCHEDULE, 4, strength)
    assert [round(SCHEDULE.timestep(level)) for level in points] == peer.timesteps.tolist()


def test_edits_add_the_difference_of_the_estimates_to_the_picture() -> None:
    """The loop of DDCM: the picture and the edit are noised to every level by the same noise."""
    other, x0, noise = Gaussian(SCHEDULE), start(), Noise(5)
    levels = (*consistency_points(SCHEDULE, 4), SCHEDULE.at_timestep(0))
    inversion = invert(F, x0, levels, EditFriendly(LCM(), noise), measure=False)
    source = edited = levels[0].alpha * x0 + levels[0].sigma * noise(x0, 0)
    for number, (level, after) in enumerate(pairwise(levels)):
        wished = x0 + other(edited, level).x0 - F(source, level).x0
        drawn = noise(x0, number + 1) if number < 3 else (x0 - after.alpha * x0) / after.sigma
        source, edited = (after.alpha * clean + after.sigma * drawn for clean in (x0, wished))
    assert torch.allclose(regenerate(other, inversion), edited, atol=1e-9)


def test_recorded_noise_returns_to_the_picture() -> None:
    x0 = start()
    levels = (*consistency_points(SCHEDULE, 4), SCHEDULE.at_timestep(0))
    inversion = invert(F, x0, levels, EditFriendly(LCM()), measure=False)
    assert torch.allclose(regenerate(F, inversion), x0, atol=1e-9)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="51 consistency points at strength 1: there are 50"):
        consistency_points(SCHEDULE, 51)
    with pytest.raises(UsageError, match=r"4 consistency points at strength 0\.06: there are 3"):
        consistency_points(SCHEDULE, 4, 0.06)
    with pytest.raises(UsageError, match="only a DiscreteVP"):
        consistency_points(SCHEDULES["flow"], 4)

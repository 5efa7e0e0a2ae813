"""EVODiff: published values, and what it shares with the other solvers although it does not converge."""

from dataclasses import dataclass

import pytest
import torch
from problems import MIXTURE, SCHEDULES, Gaussian, random_state

from fastdiff.solvers.denoiser import CountingDenoiser, SingleLevelDenoiser
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import from_x0
from fastdiff.solvers.evodiff import EVODiff
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.schedule import EDM, Flow, from_edm_sigma


@dataclass(frozen=True)
class Picture(SingleLevelDenoiser):
    """One picture (1, 1, 2, 2) whose pixels are Gaussian, each with a mean and a variance of its own."""

    schedule = EDM()
    mean = torch.tensor([[0.5, -0.3], [0.2, 0.9]], dtype=torch.float64)
    variance = torch.tensor([[0.04, 0.25], [1, 0.09]], dtype=torch.float64)

    def __call__(self, x, level):
        shrink = level.alpha * self.variance / (level.alpha**2 * self.variance + level.sigma**2)
        return from_x0(self.mean + shrink * (x - level.alpha * self.mean), x, level)

    def fresh(self):
        return self


START = 80 * torch.tensor([[[[0.3, -1.1], [0.8, 0.05]]]], dtype=torch.float64)
GOLDEN = {
    5: [0.52287381, -0.9590831, 1.29937346, 0.80861527],
    10: [0.58272177, -0.96864728, 1.14824836, 0.90836949],
    19: [0.56788946, -0.84733656, 0.98607984, 0.9225757],
    25: [0.57225969, -0.85254593, 0.98966624, 0.93191431],
}


@pytest.mark.parametrize("steps", GOLDEN)
def test_golden_values(steps):
    x = integrate(Picture(), EVODiff(), START, grid(log_snr, EDM(), steps)).x
    assert x.flatten().tolist() == pytest.approx(GOLDEN[steps], abs=6e-9)


def test_a_schedule_is_only_a_change_of_units():
    """Relative to the signal, levels of equal sigma / alpha give equal states."""
    edm_sigmas = [60.0, 20.0, 7.0, 2.0, 0.5, 0.1, 0.02]
    ends = []
    for name in ("linear", "edm", "discrete", "flow"):
        f = Gaussian(SCHEDULES[name])
        levels = [from_edm_sigma(f.schedule, edm_sigma) for edm_sigma in edm_sigmas]
        ends.append(integrate(f, EVODiff(), levels[0].alpha * 60 * random_state(5), levels).x / levels[-1].alpha)
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=0, atol=1e-9)


def test_rising_noise_is_refused():
    with pytest.raises(UsageError, match="cannot invert"):
        integrate(MIXTURE, EVODiff(), random_state(2), grid(log_snr, MIXTURE.schedule, 5)[::-1])


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_one_call_a_step(steps, clean):
    f = CountingDenoiser(MIXTURE)
    x = integrate(f, EVODiff(), random_state(2, 3, 4, 4), grid(log_snr, MIXTURE.schedule, steps, clean)).x
    assert f.tally.nfe == steps and x.isfinite().all()


def test_a_channel_of_a_sample_is_solved_alike_alone_and_among_others():
    x, levels = random_state(3, 2, 4, 4), grid(log_snr, MIXTURE.schedule, 24)
    whole = integrate(MIXTURE, EVODiff(), x, levels).x
    alone = integrate(MIXTURE, EVODiff(), x[1:2, 1:], levels).x
    torch.testing.assert_close(alone, whole[1:2, 1:], rtol=0, atol=1e-13)


def test_the_end_is_near_the_exact_flow():
    f = Gaussian(SCHEDULES["linear"])
    x, levels = random_state(2, 1, 8, 8), grid(log_snr, f.schedule, 18)
    exact = f.carry(x, levels[0], levels[-1])
    assert (integrate(f, EVODiff(), x, levels).x - exact).abs().max() < 0.1


def test_empty_channels_and_a_start_without_signal_stay_finite():
    f = Gaussian(Flow(start=1.0, end=0.0), mean=0.0)
    assert (integrate(f, EVODiff(), torch.zeros(1, 1, 2, 2), grid(time_uniform, f.schedule, 8)).x == 0).all()


def test_gradients_flow_through_a_run():
    levels = grid(log_snr, MIXTURE.schedule, 5)
    assert torch.autograd.gradcheck(
        lambda x: integrate(MIXTURE, EVODiff(), x, levels).x, random_state(1, 2, 2).requires_grad_()
    )

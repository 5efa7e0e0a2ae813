"""The closed flow of a Gaussian against integration, and its fit to data."""

import pytest
import torch
from problems import SCHEDULES, random_state

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Network
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, log_snr
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.schedule import EDM
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.tuning import teleport as tuning
from fastdiff.solvers.unipc import UniPC

SHAPE = (2, 2, 3)
BASIS = torch.linalg.qr(random_state(12, 12)).Q
VALUES = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3, *[0.0] * 7], dtype=torch.float64)
MEAN = 0.4 * random_state(*SHAPE)
FULL, LOW = Teleport(MEAN, BASIS, VALUES), Teleport(MEAN, BASIS[:, :5], VALUES[:5])


def posterior(schedule):
    """The exact denoiser of the same Gaussian, from its whole covariance."""
    covariance = BASIS * VALUES @ BASIS.mT

    def x0(x, edm_sigma):
        gain = covariance @ torch.linalg.inv(covariance + edm_sigma[0] ** 2 * torch.eye(12))
        alpha = schedule.at(-edm_sigma[0].log().item()).alpha
        return MEAN + ((x / alpha - MEAN).flatten(1) @ gain.mT).reshape(x.shape)

    return Network(x0, schedule, "x0", lambda level: level.edm_sigma, dtype=torch.float64)


def test_golden_value():
    one = torch.ones(1, 1, dtype=torch.float64)
    teleport = Teleport(0.3 * one[0], one, 0.5 * one[0])
    schedule = EDM()
    x = teleport.carry(100 * one, schedule.level(80.0), schedule.level(10.0))
    assert x.item() == pytest.approx(12.793129398412, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("direction", [1, -1])
def test_the_flow_agrees_with_integration(name, direction):
    f = posterior(SCHEDULES[name])
    levels, x = grid(log_snr, f.schedule, 240)[::direction], random_state(2, *SHAPE)
    exact, end = LOW.carry(x, levels[0], levels[-1]), integrate(f, UniPC(3), x, levels).x
    assert (end - exact).norm() < 1e-6 * exact.norm()


def test_two_flows_make_one_and_the_way_back_undoes_it():
    schedule, x = SCHEDULES["linear"], random_state(3, *SHAPE)
    top, middle, end = (schedule.level(t) for t in (1.0, 0.4, 0.01))
    whole = LOW.carry(x, top, end)
    torch.testing.assert_close(LOW.carry(LOW.carry(x, top, middle), middle, end), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(LOW.carry(whole, end, top), x, rtol=1e-12, atol=1e-12)


def test_a_low_rank_means_eigenvalues_of_zero():
    schedule, x = SCHEDULES["flow"], random_state(3, *SHAPE)
    t, u = schedule.level(1.0), schedule.level(0.0)  # no signal at the start, no noise at the end
    torch.testing.assert_close(LOW.carry(x, t, u), FULL.carry(x, t, u), rtol=0, atol=1e-13)


def test_the_rest_of_a_run_goes_on_from_the_exact_state():
    f = posterior(SCHEDULES["linear"])
    levels, x = grid(log_snr, f.schedule, 60), random_state(2, *SHAPE)
    exact = LOW.carry(x, levels[0], levels[-1])
    whole = integrate(f, DDIM(), x, levels).x
    after = integrate(f, DDIM(), LOW.carry(x, levels[0], levels[30]), levels[30:]).x
    assert (after - exact).norm() < 0.9 * (whole - exact).norm() < 0.1 * exact.norm()


def test_precision_and_batch_do_not_matter():
    schedule, x = SCHEDULES["linear"], random_state(3, *SHAPE)
    t, u = schedule.level(0.9), schedule.level(0.2)
    whole = LOW.carry(x, t, u)
    torch.testing.assert_close(LOW.carry(x[1:2], t, u), whole[1:2], rtol=0, atol=1e-14)
    single = LOW.carry(x.float(), t, u)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, rtol=0, atol=1e-6)


def drawn(count):
    coordinates = random_state(count, 5) * VALUES[:5].sqrt()
    return MEAN + (coordinates @ BASIS[:, :5].mT).reshape(count, *SHAPE)


def test_fit_finds_the_moments_of_the_data():
    data = drawn(300)
    fitted = tuning.fit(data.float().split(70))
    centred = (data - data.mean(0)).flatten(1)
    covariance = fitted.basis * fitted.eigenvalues @ fitted.basis.mT
    torch.testing.assert_close(fitted.mean, data.mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(covariance, centred.mT @ centred / 299, rtol=0, atol=1e-6)
    assert (fitted.eigenvalues[:5] - VALUES[:5]).abs().max() < 0.5 and fitted.eigenvalues[5:].max() < 1e-10


def test_fit_keeps_the_largest_directions():
    fitted, whole = (tuning.fit([drawn(4)], rank) for rank in (2, None))
    assert whole.basis.shape == (12, 3)
    assert torch.equal(fitted.eigenvalues, whole.eigenvalues[:2])
    torch.testing.assert_close(fitted.basis.mT @ fitted.basis, torch.eye(2, dtype=torch.float64))


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="two or more"):
        tuning.fit([drawn(1)])
    for rank in (0, 4):
        with pytest.raises(UsageError, match="give 1 to 3"):
            tuning.fit([drawn(4)], rank)
    with pytest.raises(UsageError, match="must agree"):
        Teleport(MEAN, BASIS[:, :4], VALUES)

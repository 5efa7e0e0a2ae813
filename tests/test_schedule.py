"""Schedules, grids and estimates against closed forms and published values."""

from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
import torch
from hypothesis import given, settings, strategies as st
from problems import BETAS, SCHEDULES

from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import FROM, Estimate
from fastdiff.solvers.grids import grid, karras, leading, linspace, log_snr, time_uniform, trailing
from fastdiff.solvers.schedule import CLEAN_LEVEL, EDM, CosineVP, DiscreteVP, Flow, LinearVP, from_edm_sigma
from fastdiff.solvers.spacings import SPACINGS

NAMES = sorted(SCHEDULES)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(share=st.floats(0, 1))
def test_at_is_the_inverse_of_level(name, share):
    schedule = SCHEDULES[name]
    t = schedule.end + share * (schedule.start - schedule.end)
    level = schedule.level(t)
    back = schedule.at(level.lam)
    assert back.t == pytest.approx(t, rel=1e-9)
    assert (back.alpha, back.sigma) == pytest.approx((level.alpha, level.sigma), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_signal_falls_and_noise_rises_with_time(name):
    schedule = SCHEDULES[name]
    levels = [schedule.level(schedule.end + i / 50 * (schedule.start - schedule.end)) for i in range(51)]
    for a, b in pairwise(levels):
        assert b.lam < a.lam and b.sigma > a.sigma and b.alpha <= a.alpha


@pytest.mark.parametrize("name", ["linear", "cosine", "discrete"])
def test_variance_is_preserved_to_rounding_near_the_data(name):
    level = SCHEDULES[name].at(12.0)
    assert level.sigma == pytest.approx(6.1441e-6, rel=1e-4)
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1, abs=1e-15)


def test_linear_schedule_has_its_published_values():
    schedule = LinearVP()
    assert schedule.level(1.0).alpha == pytest.approx(0.006571586495, abs=1e-12)
    assert schedule.level(1.0).lam == pytest.approx(-5.0249784067, abs=1e-10)
    assert schedule.level(1e-3).lam == pytest.approx(4.5577149327, abs=1e-10)
    assert schedule.at(0.0).t == pytest.approx(0.2589602624, abs=1e-10)


def test_discrete_schedule_has_its_published_values():
    schedule = DiscreteVP.from_betas(BETAS)
    assert schedule.level(1.0).lam == pytest.approx(-2.6820238501, abs=1e-9)
    assert schedule.level(0.001).lam == pytest.approx(3.5347119235, abs=1e-9)
    assert schedule.level(0.5).lam == pytest.approx(-0.4780252414, abs=1e-9)
    assert schedule.at(0.0).t == pytest.approx(0.3548902478, abs=1e-9)


def test_label_is_the_training_index_for_any_table_length():
    """The shipped solvers multiply by 1000 whatever the length of the table."""
    for length in (100, 937, 1000):
        schedule = DiscreteVP.from_betas(torch.linspace(1e-4, 0.05, length, dtype=torch.float64).tolist())
        for index in (0, 17, length - 1):
            level = schedule.at_timestep(index)
            assert schedule.timestep(level) == pytest.approx(index, abs=1e-9)
            assert level.alpha**2 == pytest.approx(schedule.alphas_cumprod[index], rel=1e-12)


def test_discrete_schedule_goes_on_to_no_noise_below_its_first_knot():
    schedule = DiscreteVP.from_betas(torch.linspace(1e-5, 0.2, 100, dtype=torch.float64).tolist())
    assert schedule.level(0.0) == CLEAN_LEVEL
    assert schedule.level(0.0099).alpha <= 1


@pytest.mark.parametrize("table", [(0.9,), (0.9, 0.9), (0.8, 0.9), (1.0, 0.5), (0.5, 0.0), (0.5, float("nan"))])
def test_discrete_schedule_refuses_a_bad_table(table):
    with pytest.raises(UsageError, match="strictly falling"):
        DiscreteVP(table)


def test_flow_levels_are_defined_at_both_ends():
    assert Flow(shift=3.0).level(0.0).lam == inf
    pure = Flow(shift=3.0).level(1.0)
    assert (pure.alpha, pure.sigma, pure.lam, pure.edm_sigma) == (0.0, 1.0, -inf, inf)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spacing", ["time-uniform", "time-quadratic", "log-snr", "karras", "beta"])
@pytest.mark.parametrize("clean", [False, True])
def test_grids_fall_strictly_between_the_ends_of_the_schedule(name, spacing, clean):
    schedule = SCHEDULES[name]
    levels = grid(SPACINGS[spacing], schedule, 7, clean)
    assert len(levels) == 8
    assert all(a.lam < b.lam for a, b in pairwise(levels))
    assert levels[0].lam == pytest.approx(schedule.level(schedule.start).lam, abs=1e-9)
    assert levels[-2 if clean else -1].lam == pytest.approx(schedule.level(schedule.end).lam, abs=1e-9)
    assert (levels[-1] == CLEAN_LEVEL) == clean


def test_log_snr_grid_is_uniform_in_lam():
    lams = [level.lam for level in grid(log_snr, CosineVP(), 10)]
    assert torch.diff(torch.tensor(lams, dtype=torch.float64)).std() < 1e-12


def test_karras_grid_of_edm_has_its_published_sigmas():
    """Formula (5) of arXiv 2206.00364, by hand for three levels."""
    sigmas = [level.sigma for level in karras(EDM(), 3)]
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert sigmas == pytest.approx([80, middle, 0.002], rel=1e-12)


def test_trained_spacings_are_not_rounded():
    schedule = DiscreteVP.from_betas(BETAS)
    labels = {
        spacing: [schedule.timestep(level) for level in spacing(schedule, 3)]
        for spacing in (trailing, leading, linspace)
    }
    assert labels[trailing] == pytest.approx([999, 999 - 1000 / 3, 999 - 2000 / 3])
    assert labels[leading] == pytest.approx([2000 / 3, 1000 / 3, 0], abs=1e-9)
    assert labels[linspace] == pytest.approx([999, 499.5, 0], abs=1e-9)


def test_trained_spacings_begin_where_the_schedule_does():
    schedule = replace(DiscreteVP.from_betas(BETAS), start=0.5)
    assert [schedule.timestep(level) for level in trailing(schedule, 2)] == pytest.approx([499, 249])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid(time_uniform, EDM(), 0), "give one or more"),
        (lambda: grid(trailing, EDM(), 5), "only a DiscreteVP"),
        (lambda: grid(karras, Flow(end=0.0), 5), "need signal and noise"),
        (lambda: grid(log_snr, Flow(start=1.0), 5), "need signal and noise"),
        (lambda: from_edm_sigma(EDM(), -1.0), "0 or more"),
        (lambda: from_edm_sigma(EDM(), float("nan")), "0 or more"),
    ],
)
def test_impossible_grids_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("predicts", sorted(FROM))
def test_every_prediction_type_gives_the_same_estimate(predicts):
    schedule = Flow() if predicts == "flow" else LinearVP()
    level = schedule.level(0.4)
    truth = Estimate(*torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    x = level.alpha * truth.x0 + level.sigma * truth.eps
    output = {
        "eps": truth.eps,
        "x0": truth.x0,
        "v": level.alpha * truth.eps - level.sigma * truth.x0,
        "flow": truth.eps - truth.x0,
    }[predicts]
    for got, expected in zip(FROM[predicts](output, x, level), truth, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-14)

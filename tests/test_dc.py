"""DC-Solver: published searches, its compensation, and ratios for step counts that were not searched."""

import pytest
import torch
from problems import MIXTURE, random_state

from fastdiff.solvers.dc import DC, interpolated
from fastdiff.solvers.dc_cascade import Cascade
from fastdiff.solvers.denoiser import CountingDenoiser
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.exponential import EPS, half
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.tuning import dc, dc_cascade
from fastdiff.solvers.tuning.teacher import finer
from fastdiff.solvers.unipc import UniPC

START = torch.linspace(-2, 2, 10, dtype=torch.float64)
FINE = UniPC(3, lower_final=False)
BH1 = UniPC(3, slope=half)


def exact(levels):
    return finer(levels, FINE, 600 // len(levels))


def error(solver, levels, x=START):
    return (integrate(MIXTURE, solver, x, levels).x - exact(levels)(MIXTURE, x)[-1]).square().mean().item()


@pytest.mark.parametrize(
    ("spacing", "inner", "ratios", "with_ratios", "without"),
    [
        (time_uniform, BH1, [0.969091, 1.126314, 1.376045], 2.594e-2, 5.974e-2),
        (time_uniform, UniPC(2), [0.959054, 1.164077, 1.420512], 3.065e-2, 6.745e-2),
        (log_snr, BH1, [1.276736, 0.740372, 0.712375], 5.257e-3, 1.329e-1),
        (time_uniform, BH1, [0.929188, 0.988663, 1.014038, 1.036294, 1.039543, 1.129276], 9.513e-3, 1.136e-2),
    ],
)
def test_golden_searches(spacing, inner, ratios, with_ratios, without):
    levels = grid(spacing, MIXTURE.schedule, len(ratios) + 2)
    found = dc.fit([(MIXTURE, START)], levels, exact(levels), inner)
    assert found.ratios == pytest.approx([1, 1, *ratios], abs=1e-5)
    assert error(found, levels) == pytest.approx(with_ratios, rel=2e-4)
    assert error(inner, levels) == pytest.approx(without, rel=5e-4)


@pytest.mark.parametrize("inner", [UniPC(1, corrector=False), UniPC(2, corrector=False), UniPC(2, EPS)])
def test_predictors_and_the_noise_view_gain_as_well(inner):
    """On states that were not searched on. The first is DDIM, the second DPM-Solver++(2M)."""
    levels, unseen = grid(log_snr, MIXTURE.schedule, 6, clean=True), random_state(20)
    found = dc.fit([(MIXTURE, START)], levels, exact(levels), inner)
    assert error(found, levels, unseen) < 0.8 * error(inner, levels, unseen)


def test_no_ratio_is_worse_than_none():
    """The last one can be judged by the end of the run."""
    for levels in (grid(spacing, MIXTURE.schedule, steps) for spacing in (time_uniform, log_snr) for steps in (4, 6)):
        found = dc.fit([(MIXTURE, START)], levels, exact(levels), BH1)
        assert error(found, levels) <= error(DC(BH1, (*found.ratios[:-1], 1.0)), levels)


def test_batches_are_searched_as_one():
    levels = grid(log_snr, MIXTURE.schedule, 5)
    whole = dc.fit([(MIXTURE, START)], levels, exact(levels))
    parts = dc.fit([(MIXTURE, START[:3]), (MIXTURE, START[3:])], levels, exact(levels))
    assert parts.ratios == pytest.approx(whole.ratios, abs=1e-5)


def test_a_search_is_cheap_and_tells_its_progress():
    levels, f, seen = grid(log_snr, MIXTURE.schedule, 5), CountingDenoiser(MIXTURE), []
    dc.fit([(f, START)], levels, lambda f, x: exact(levels)(MIXTURE, x), watch=lambda *now: seen.append(now))
    assert seen == [(done, 5) for done in range(1, 6)]
    assert f.tally.nfe < 60


def test_too_few_steps_have_nothing_to_search():
    levels = grid(log_snr, MIXTURE.schedule, 2)
    assert dc.fit([(MIXTURE, START)], levels, exact(levels)).ratios == (1, 1)


@pytest.mark.parametrize("ratio", [-1.0, 0.0, 0.3, 1.0, 1.7])
def test_compensation_is_exact_for_quadratics_in_time(ratio):
    def parabola(t):
        return Estimate(*(random_state(4, 3) @ torch.tensor([1, t, k * t * t], dtype=torch.float64) for k in (1, 2)))

    times = (0.2, 0.55, 0.7)
    time = ratio * times[0] + (1 - ratio) * times[1]
    got = interpolated([parabola(t) for t in times], times, time)
    torch.testing.assert_close(got, parabola(time), rtol=0, atol=1e-12)


def test_a_cascade_is_recovered_from_its_own_ratios():
    cascade = Cascade(tuple(random_state(36).tolist()))
    searched = {(w, n): cascade.solver(w, n) for w in (1.0, 4.5, 7.5, 12.0) for n in (6, 9, 15, 40)}
    again = dc_cascade.fit(searched)
    assert again.coefficients == pytest.approx(cascade.coefficients, abs=1e-6)
    assert again.ratios(6.0, 20) == pytest.approx(cascade.ratios(6.0, 20), abs=1e-9)


def test_a_cascade_is_the_polynomial_that_it_says():
    """One coefficient at a time, in the order of the authors' array (4, 3, 3)."""
    for index, term in {0: 0.5**2 * 0.2**2, 8: 1.0, 12: 0.4 * 0.5 * 0.2**2, 35: 0.4**3}.items():
        cascade = Cascade(tuple(float(i == index) for i in range(36)))
        assert cascade.ratios(6.0, 10)[:2] == (1, 1)
        assert cascade.ratios(6.0, 10)[3] == pytest.approx(term)


@pytest.mark.parametrize("spacing", [time_uniform, log_snr])
def test_predicted_ratios_help_at_a_step_count_between_those_searched(spacing):
    searched, unseen = {}, random_state(20)
    for steps in (5, 6, 8, 9):
        levels = grid(spacing, MIXTURE.schedule, steps)
        searched[1.0, steps] = dc.fit([(MIXTURE, START)], levels, exact(levels), BH1)
    levels = grid(spacing, MIXTURE.schedule, 7)
    predicted = dc_cascade.fit(searched).solver(1.0, 7, BH1)
    assert error(predicted, levels, unseen) < 0.8 * error(BH1, levels, unseen)

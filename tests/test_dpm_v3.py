"""DPM-Solver-v3: published values and exact flows, with statistics in closed form, by quadrature and estimated."""

from functools import cache

import pytest
import torch
from problems import MIXTURE, MIXTURE_END, MIXTURE_START, SCHEDULES, Gaussian, Mixture, random_state, start
from torch.func import jvp
from torch.nn.functional import scaled_dot_product_attention

from fastdiff.solvers.denoiser import CountingDenoiser, Network
from fastdiff.solvers.dpm_solver import dpmpp_2m, dpmpp_3m
from fastdiff.solvers.dpm_v3 import DPMv3
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.exponential import EPS, X0, taylor
from fastdiff.solvers.grids import grid, log_snr, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.multistep import Multistep
from fastdiff.solvers.schedule import Flow, LinearVP
from fastdiff.solvers.tuning import v3
from fastdiff.solvers.v3_statistics import Statistics

SCHEDULE = LinearVP()


def lams(schedule, intervals):
    return torch.tensor([level.lam for level in grid(log_snr, schedule, intervals)], dtype=torch.float64)


def constant(intervals, linear, slope, offset):
    lam = lams(SCHEDULE, intervals)
    return Statistics(lam, *(torch.full_like(lam, value) for value in (linear, slope, offset)))


def of_gaussian(f, intervals):
    """f is the same at every state: -mean sigma^2 / V, with V the variance of the state."""
    lam = lams(f.schedule, intervals)
    levels = [f.schedule.at(value) for value in lam.tolist()]
    alpha, sigma = torch.tensor([(level.alpha, level.sigma) for level in levels], dtype=torch.float64).T
    noise = sigma**2 / (alpha**2 * f.variance + sigma**2)
    return Statistics(lam, noise, torch.zeros_like(lam), 2 * f.mean * noise * (1 - noise))


WEIGHTS, MEANS, VARIANCES = torch.tensor([[0.3, 0.7], [-1, 0.8], [0.04, 0.09]], dtype=torch.float64)[..., None, None]


def signal(lam):
    return torch.sigmoid(2 * lam).sqrt(), torch.sigmoid(-2 * lam).sqrt()


def posterior_mean(x, lam):
    """Of the clean signal of the mixture, as a function that can be differentiated in lam as well."""
    alpha, sigma = signal(lam)
    totals, gaps = alpha**2 * VARIANCES + sigma**2, x - alpha * MEANS
    shares = torch.softmax(WEIGHTS.log() - totals.log() / 2 - gaps**2 / (2 * totals), 0)
    return (shares * (MEANS + alpha * VARIANCES / totals * gaps)).sum(0)


@cache
def of_mixture(intervals):
    """By quadrature over the states; l' is smoothed as in the script that made the published values."""
    lam = lams(SCHEDULE, intervals)[:, None]
    alpha, sigma = signal(lam)
    z = torch.linspace(-9, 9, 201, dtype=torch.float64)
    x = torch.cat(list(alpha * MEANS + (alpha**2 * VARIANCES + sigma**2).sqrt() * z), 1)
    shares = (WEIGHTS * torch.softmax(-z * z / 2, 0)).flatten()

    def mean(values):
        return (values * shares).sum(1, keepdim=True)

    ones, lam_of_x = torch.ones_like(x), lam.expand_as(x).clone()
    x0, slope, *_ = jvp(lambda x: posterior_mean(x, lam), (x,), (ones,))
    eps = (x - alpha * x0) / sigma
    moved = jvp(posterior_mean, (x, lam_of_x), (sigma**2 * x - sigma * eps, ones))[1]
    retained = alpha * mean(slope)
    raw = -torch.gradient(retained, spacing=(lam[:, 0],), dim=0)[0]
    change = torch.stack([raw[max(i - 5, 0) : i + 6].mean(0) for i in range(len(raw))])
    f, df = retained * x / alpha - x0, -retained * sigma / alpha * eps - change * x / alpha - moved
    s = mean((f - mean(f)) * (df - mean(df))) / mean((f - mean(f)) ** 2)
    return Statistics(lam[:, 0], *((1 - retained)[:, 0], s[:, 0], (mean(df) - s * mean(f))[:, 0]))


def end(f, solver, steps, x=None):
    return integrate(f, solver, start() if x is None else x, grid(log_snr, f.schedule, steps)).x


@pytest.mark.parametrize(
    ("intervals", "one", "two"), [(120, -1.95e-6, 7.6e-4), (500, -1.1e-7, 4.3e-5), (1200, -2.0e-8, 7.6e-6)]
)
def test_gaussian_data_are_solved_up_to_the_quadrature(intervals, one, two):
    f = Gaussian(SCHEDULE)
    solver = DPMv3(of_gaussian(f, intervals), order=1)
    assert end(f, solver, 1).item() - 1.346722023226 == pytest.approx(one, rel=0.03)
    assert end(f, solver, 2).item() - 1.346722023226 == pytest.approx(two, rel=0.03)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("direction", [1, -1])
def test_gaussian_data_are_solved_on_every_schedule_in_both_directions(name, direction):
    f = Gaussian(SCHEDULES[name])
    levels, x = grid(log_snr, f.schedule, 4)[::direction], random_state(3)
    exact = f.carry(x, levels[0], levels[-1])
    error = (integrate(f, DPMv3(of_gaussian(f, 1200)), x, levels).x - exact).abs().max()
    assert error < 2e-3 * exact.abs().max()


@pytest.mark.parametrize(
    ("coefficients", "intervals", "expected"),
    [
        ((0.0, -1.0, 0.0), 500, 0.9173440160),
        ((0.0, -1.0, 0.0), 2000, 0.9173936827),
        ((1.0, 0.0, 0.0), 500, 0.9109761972),
        ((1.0, 0.0, 0.0), 2000, 0.9108678340),
    ],
)
def test_golden_values_of_noise_and_data_prediction(coefficients, intervals, expected):
    solver = DPMv3(constant(intervals, *coefficients), corrector=False, lower_final=False)
    assert end(MIXTURE, solver, 10).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("coefficients", "form"), [((0.0, -1.0, 0.0), EPS), ((1.0, 0.0, 0.0), X0)])
@pytest.mark.parametrize("lower_final", [False, True])
def test_noise_and_data_prediction_are_exponential_multistep(coefficients, form, lower_final):
    for order in (1, 2, 3):
        solver = DPMv3(constant(1000, *coefficients), order, corrector=False, lower_final=lower_final)
        expected = end(MIXTURE, Multistep(order, form, taylor, lower_final=lower_final), 10)
        torch.testing.assert_close(end(MIXTURE, solver, 10), expected, rtol=0, atol=8e-5)


def test_golden_statistics():
    made = of_mixture(500)
    at = [0, 100, 250, 400, 500]
    linear, slope, offset = (part[at].tolist() for part in (made.linear, made.slope, made.offset))
    assert linear == pytest.approx([0.99996738, 0.99849490, 0.68838146, 0.07044852, 0.00166495], abs=6e-9)
    assert slope == pytest.approx([1.99989532, 1.99549319, 1.37607822, -1.83366262, -2.20723601], abs=6e-9)
    assert offset == pytest.approx([0.51997459, 0.51883471, 0.34730818, 0.00002984, 0.00000002], abs=6e-9)


@pytest.mark.parametrize(
    ("options", "steps", "intervals", "expected"),
    [
        ({"corrector": False}, 5, 500, 0.8499255343),
        ({"corrector": False}, 10, 500, 0.8935295218),
        ({}, 10, 500, 0.9114716829),
        ({}, 8, 480, 0.9155656491),
        ({"order": 2, "c_pseudo": True}, 10, 500, 0.9142544162),
        ({"order": 1}, 10, 500, 0.9101917929),
        ({"p_pseudo": True, "lower_final": False}, 5, 500, 0.9359670971),
    ],
)
def test_golden_values(options, steps, intervals, expected):
    assert end(MIXTURE, DPMv3(of_mixture(intervals), **options), steps).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("indices", "expected"), [((62, 187, 312, 437), 0.9148547490), ((63, 188, 312, 438), 0.9148952163)]
)
def test_golden_values_of_uneven_steps(indices, expected):
    nodes = of_mixture(500).nodes
    first, second, third, fourth = indices
    levels = [SCHEDULE.at(nodes[i]) for i in (0, first, 125, second, 250, third, 375, fourth, 500)]
    x = integrate(MIXTURE, DPMv3(of_mixture(500)), start(), levels).x
    assert x.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize(
    ("direction", "first", "last"), [(1, MIXTURE_START, MIXTURE_END), (-1, MIXTURE_END, MIXTURE_START)]
)
def test_the_exact_flow_is_approached_in_both_directions(direction, first, last, corrector):
    solver = DPMv3(of_mixture(480), order=2, corrector=corrector, lower_final=False)

    def error(steps):
        return abs(
            integrate(MIXTURE, solver, start(first), grid(log_snr, SCHEDULE, steps)[::direction]).x.item() - last
        )

    assert error(60) < min(error(15) / 4, 2e-4)


def test_levels_may_lie_between_the_nodes():
    f, x = Gaussian(SCHEDULE), random_state(3)
    levels = grid(time_uniform, SCHEDULE, 7)
    exact = f.carry(x, levels[0], levels[-1])
    torch.testing.assert_close(integrate(f, DPMv3(of_gaussian(f, 1201)), x, levels).x, exact, rtol=0, atol=1e-4)


def test_a_run_may_start_without_signal_and_end_without_noise():
    f, x = Gaussian(Flow(start=1.0, end=0.0)), random_state(3)
    statistics = of_gaussian(Gaussian(Flow()), 1200)
    levels = grid(time_uniform, f.schedule, 60)
    exact = f.carry(x, levels[0], levels[-1])
    torch.testing.assert_close(integrate(f, DPMv3(statistics), x, levels).x, exact, rtol=0, atol=0.03)


def test_every_element_has_coefficients_of_its_own():
    """Two elements with two statistics, in a batch, in one run and each by itself."""
    parts = [constant(60, 1.0, 0.0, 0.0), constant(60, 0.2, -0.8, 0.1)]
    both = Statistics(
        parts[0].lam, *(torch.stack([getattr(p, k) for p in parts], 1) for k in ("linear", "slope", "offset"))
    )
    x = random_state(3, 2)
    whole = end(MIXTURE, DPMv3(both), 6, x)
    for i, part in enumerate(parts):
        torch.testing.assert_close(whole[:, i], end(MIXTURE, DPMv3(part), 6, x[:, i]), rtol=0, atol=1e-13)
    torch.testing.assert_close(whole[1:2], end(MIXTURE, DPMv3(both), 6, x[1:2]), rtol=0, atol=1e-13)


def test_a_coefficient_may_stand_for_all_elements_of_a_channel():
    parts = constant(60, 0.2, -0.8, 0.1)
    pooled = Statistics(parts.lam, *(part[:, None, None] for part in (parts.linear, parts.slope, parts.offset)))
    x = random_state(2, 1, 5)
    expected = end(MIXTURE, DPMv3(parts), 6, x.flatten()).reshape(x.shape)
    assert torch.equal(end(MIXTURE, DPMv3(pooled), 6, x), expected)


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_single_precision_is_enough(steps):
    """Over longer first steps e^S magnifies what the division of a noise prediction by a small alpha has lost."""
    x = random_state(9)
    wide, narrow = (
        end(MIXTURE, DPMv3(of_mixture(480)), steps, x.to(dtype)) for dtype in (torch.float64, torch.float32)
    )
    assert narrow.dtype == torch.float32
    assert (wide - narrow).abs().max() < 1e-4


def test_one_call_a_step_and_gradients():
    f, solver = CountingDenoiser(MIXTURE), DPMv3(constant(60, 0.5, -0.5, 0.1))
    end(f, solver, 7)
    assert f.tally.nfe == 7
    assert torch.autograd.gradcheck(lambda x: end(MIXTURE, solver, 4, x), random_state(3).requires_grad_())


def test_two_half_runs_with_carried_state_equal_one_run():
    solver, levels, x = DPMv3(of_mixture(480)), grid(log_snr, SCHEDULE, 8), random_state(3)
    first = integrate(MIXTURE, solver, x, levels, last=3)
    second = integrate(MIXTURE, solver, first.x, levels, first=3, state=first.state)
    assert torch.equal(second.x, integrate(MIXTURE, solver, x, levels).x)


def test_what_does_not_fit_is_refused():
    statistics = constant(60, 1.0, 0.0, 0.0)
    with pytest.raises(UsageError, match=r"statistics cover -5\.0250 to 4\.5577"):
        integrate(MIXTURE, DPMv3(statistics), start(), [SCHEDULE.at(lam) for lam in (-5.1, 0.0)])
    with pytest.raises(UsageError, match="these statistics are of"):
        end(MIXTURE, DPMv3(statistics), 3, random_state(2, 3))
    with pytest.raises(UsageError, match="1 or more"):
        DPMv3(statistics, order=0)
    lam, flat = statistics.lam, statistics.linear
    with pytest.raises(UsageError, match="must agree"):
        Statistics(lam, flat, flat, flat[:-1])
    for bad in ((lam.flip(0), flat, flat, flat), (lam, flat, flat.log() / flat.log(), flat)):
        with pytest.raises(UsageError, match="estimate them again"):
            Statistics(*bad)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_estimated_statistics_of_gaussian_data_are_exact(name):
    f = Gaussian(SCHEDULES[name])
    nodes = grid(log_snr, f.schedule, 200)
    made, expected = v3.fit([(f, 1 + random_state(4, 1) / 2)], nodes), of_gaussian(f, 200)
    torch.testing.assert_close(made.linear[:, 0], expected.linear, rtol=0, atol=1e-13)
    assert made.slope.abs().max() < 1e-6
    torch.testing.assert_close(made.offset[:, 0], expected.offset, rtol=0, atol=2e-2)


def drawn(*shape):
    u, z = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)), random_state(*shape)
    return torch.where(u < 0.3, -1 + 0.2 * z, 0.8 + 0.3 * z)


def test_estimated_statistics_of_a_mixture_approach_those_by_quadrature():
    count, every = 8 * 800, 12
    made = v3.fit([(MIXTURE, drawn(8, 1, 800))], grid(log_snr, SCHEDULE, 480 // every), pooled=True)
    exact = of_mixture(480)
    inner = exact.lam[::every].abs() < 2.5  # where f varies: elsewhere s is drawn to 0
    for part, scale in (("linear", 1.0), ("slope", 8.0), ("offset", 2.0)):
        mine, theirs = getattr(made, part)[inner, 0, 0], getattr(exact, part)[::every][inner]
        assert (mine - theirs).abs().max() < 3 * scale / count**0.5, part


def test_estimation_takes_data_in_parts_and_tells_of_every_node():
    clean, nodes, seen = drawn(5, 3), grid(log_snr, SCHEDULE, 12), []
    whole = v3.fit([(MIXTURE, clean)], nodes)
    parts = v3.fit([(MIXTURE, clean[:2]), (MIXTURE, clean[2:])], nodes, watch=lambda *told: seen.append(told))
    for name in ("linear", "slope", "offset"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    assert seen == [(i, 26) for i in range(1, 27)]
    assert not torch.equal(v3.fit([(MIXTURE, clean)], nodes, seed=1).linear, whole.linear)


def test_networks_with_attention_are_differentiated_forwards():
    """The fused kernels of attention have no forward mode."""
    f = Network(lambda x, _: scaled_dot_product_attention(x, x, x), SCHEDULE, "eps", lambda level: level.t)
    made = v3.fit([(f, random_state(2, 1, 4, 4))], grid(log_snr, SCHEDULE, 4))
    assert made.shape == (1, 4, 4)


@pytest.mark.parametrize("name", ["flow", "cosine"])
def test_estimated_statistics_beat_2m_from_a_start_that_is_almost_pure_noise(name):
    """There f is a constant but for rounding, and its slope would blow up."""
    schedule = SCHEDULES[name]
    f, x, levels = Mixture(schedule), random_state(16, 1, 8), grid(log_snr, schedule, 5)
    statistics = v3.fit([(f, drawn(8, 1, 100))], grid(log_snr, schedule, 120), pooled=True)
    exact = integrate(f, dpmpp_3m(), x, grid(log_snr, schedule, 300)).x
    mine = integrate(f, DPMv3(statistics), x, levels).x - exact
    theirs = integrate(f, dpmpp_2m(), x, levels).x - exact
    assert mine.norm() < 0.9 * theirs.norm()

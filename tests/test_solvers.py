"""Every solver against closed forms, published values and the properties that all of them share."""

from dataclasses import dataclass, replace
from functools import partial
from math import log2

import pytest
import torch
from problems import MIXTURE_END, MIXTURE_START, SCHEDULES, Gaussian, Mixture

from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import Counted, Network
from fastdiff.solvers.dpmpp_2s import DPMpp2S
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import FROM, Estimate
from fastdiff.solvers.euler_ancestral import EulerAncestral
from fastdiff.solvers.exponential import DATA, NOISE, half, midpoint, moments, taylor, weights
from fastdiff.solvers.grid import grid, log_snr, time_quadratic, time_uniform
from fastdiff.solvers.guidance import Guided, Thresholded
from fastdiff.solvers.heun import Heun
from fastdiff.solvers.integrate import integrate
from fastdiff.solvers.multistep import Multistep, dpm_2m, dpmpp_2m, dpmpp_3m, sde_dpmpp_1
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Flow, LinearVP
from fastdiff.solvers.unipc import UniPC

STOCHASTIC = sorted(name for name, make in SOLVERS.items() if make().stochastic)
DETERMINISTIC = sorted(set(SOLVERS) - set(STOCHASTIC))
MIXTURE = Mixture(LinearVP())


def start(*shape, value=MIXTURE_START):
    return torch.full(shape or (1,), value, dtype=torch.float64)


def random_state(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


GOLDEN = {
    "ddim": (DDIM(), 10, 0.8419461035, 0.8545509530, 0.8709212241),
    "2m, no lower final": (dpmpp_2m(lower_final=False), 10, 0.9588844291, 1.0318735198, 0.9444434177),
    "2m": (dpmpp_2m(), 10, 0.9556132064, 0.8922809200, 0.9284342842),
    "3m published": (dpmpp_3m(published=True), 10, 0.9518269622, 0.8979061993, 0.9106572495),
    "3m": (dpmpp_3m(), 10, 0.9444139412, 0.8990095932, 0.9027982823),
    "eps 2m": (dpm_2m(), 10, 0.9124654659, 0.8853652068, 0.9122871162),
    "eps 3m published": (Multistep(3, NOISE, curvature=0.5), 10, 0.9150052666, 0.8875296287, 0.9113892531),
    "2s": (DPMpp2S(), 5, 0.8729544569, 0.8550923272, 0.8933792683),
    "unipc-3 bh1": (UniPC(3, slope=half), 10, 0.9165432521, 0.9049124344, 0.9044417195),
    "unipc-3 bh2": (UniPC(3), 10, 0.9188236681, 0.8959718635, 0.9028377129),
    "unipc-2 bh2": (UniPC(2), 10, 0.9474274356, 0.8945837070, 0.9253073265),
    "unipc-3 bh1 noise": (UniPC(3, NOISE, half), 10, 0.9208350190, 0.8797698519, 0.9214593627),
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


FULL_ORDER = {
    "ddim": (DDIM(), 1),
    "heun": (Heun(), 2),
    "2s": (DPMpp2S(), 2),
    "2m midpoint": (dpmpp_2m(lower_final=False), 2),
    "2m taylor": (dpmpp_2m(taylor, lower_final=False), 2),
    "3m": (dpmpp_3m(lower_final=False), 3),
    "3m published": (dpmpp_3m(published=True, lower_final=False), 2),
    "eps 2m": (dpm_2m(lower_final=False), 2),
    "unip-2": (UniPC(2, corrector=False, lower_final=False), 2),
    "unip-3": (UniPC(3, corrector=False, lower_final=False), 3),
    "unipc-1": (UniPC(1, lower_final=False), 2),
    "unipc-2": (UniPC(2, lower_final=False), 3),
    "unipc-2 noise": (UniPC(2, NOISE, lower_final=False), 3),
    "unipc-2 vary-coeff": (UniPC(2, slope=taylor, lower_final=False), 3),
    "unipc-3": (UniPC(3, slope=half, lower_final=False), 4),
}


def slope_between(run, exact, steps=(160, 320)):
    coarse, fine = (abs(run(n).item() - exact) for n in steps)
    return log2(coarse / fine)


@pytest.mark.parametrize("name", FULL_ORDER)
def test_order_of_convergence_in_both_directions(name):
    solver, order = FULL_ORDER[name]
    schedule = MIXTURE.schedule

    def sample(n):
        return integrate(MIXTURE, solver, start(), grid(log_snr, schedule, n)).x

    def noise(n):
        return integrate(MIXTURE, solver, start(value=MIXTURE_END), grid(log_snr, schedule, n)[::-1]).x

    assert slope_between(sample, MIXTURE_END) == pytest.approx(order, abs=0.15)
    assert slope_between(noise, MIXTURE_START) == pytest.approx(order, abs=0.15)


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


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_constant_estimate_is_solved_exactly(name):
    """With x0 = c everywhere, x - alpha c only shrinks with sigma, whatever the order."""
    schedule = LinearVP()

    @dataclass(frozen=True)
    class Constant:
        schedule = LinearVP()

        def __call__(self, x, level):
            return FROM["x0"](torch.full_like(x, 0.3), x, level)

        def fresh(self):
            return self

    levels = grid(time_uniform, schedule, 6)
    x = integrate(Constant(), SOLVERS[name](), start(), levels).x.item()
    t, u = levels[0], levels[-1]
    assert x == pytest.approx(u.sigma / t.sigma * (MIXTURE_START - t.alpha * 0.3) + u.alpha * 0.3, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_grid_to_sigma_zero_ends_on_the_last_clean_estimate(name, schedule):
    f = Gaussian(SCHEDULES[schedule])
    seen = []
    levels = grid(log_snr, f.schedule, 6, clean=True)
    x = integrate(f, SOLVERS[name](), random_state(3), levels, watch=seen.append).x
    before = seen[-2]
    if name == "unipc":
        assert torch.isfinite(x).all()
    else:
        torch.testing.assert_close(x, f(before.x, before.level).x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_one_step_to_sigma_zero_returns_the_estimate_of_the_start(name):
    x = integrate(MIXTURE, SOLVERS[name](), start(), grid(time_uniform, MIXTURE.schedule, 1, clean=True)).x
    assert x.item() == pytest.approx(0.2634713251514071, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"dpm-2m"}))
def test_a_flow_run_may_start_without_any_signal(name):
    """At alpha = 0 the estimate is the data mean; with 80 steps the flow still ends near the exact map."""
    f = Gaussian(Flow(start=1.0, end=0.0))
    x = integrate(f, SOLVERS[name](), random_state(5), grid(time_uniform, f.schedule, 80)).x
    if name in STOCHASTIC:
        assert torch.isfinite(x).all()
    else:
        expected = f.carry(random_state(5), f.schedule.level(1.0), f.schedule.level(0.0))
        torch.testing.assert_close(x, expected, rtol=0, atol=0.03)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_inversion_may_end_without_any_signal(name):
    f = Gaussian(Flow(start=1.0))
    x = integrate(f, SOLVERS[name](), random_state(5), grid(time_uniform, f.schedule, 40)[::-1]).x
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_two_half_runs_with_carried_state_equal_one_run(name):
    levels = grid(log_snr, MIXTURE.schedule, 8)
    x = random_state(3)
    whole = integrate(MIXTURE, SOLVERS[name](), x, levels).x
    solver = SOLVERS[name]()
    state, seen = solver.init(levels), x
    for part in (levels[:4], levels[3:]):
        run = integrate(MIXTURE, solver, seen, part, state=state)
        seen, state = run.x, run.state
    assert torch.equal(seen, whole)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_an_item_is_solved_alike_alone_and_in_a_batch(name):
    levels = grid(log_snr, MIXTURE.schedule, 6)
    x = random_state(4, 2, 3)
    make = partial(SOLVERS[name])
    batch = integrate(MIXTURE, make(), x, levels).x
    for item in range(4):
        solver = make(noise=Noise(0, (item,))) if name in STOCHASTIC else make()
        alone = integrate(MIXTURE, solver, x[item : item + 1], levels).x
        torch.testing.assert_close(alone[0], batch[item], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_gradients_flow_through_a_run(name):
    levels = grid(log_snr, MIXTURE.schedule, 3)

    def run(x):
        return integrate(MIXTURE, SOLVERS[name](), x, levels).x

    assert torch.autograd.gradcheck(run, random_state(3).requires_grad_())


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_calls_are_as_stated(name):
    f = Counted(MIXTURE)
    integrate(f, SOLVERS[name](), start(), grid(log_snr, MIXTURE.schedule, 7))
    assert f.tally.calls == 7 * SOLVERS[name]().evals


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("steps", [5, 20, 50])
def test_single_precision_is_enough(name, steps):
    levels = grid(log_snr, MIXTURE.schedule, steps)
    wide, narrow = (
        integrate(MIXTURE, SOLVERS[name](), random_state(9, dtype=dtype), levels).x
        for dtype in (torch.float64, torch.float32)
    )
    assert narrow.dtype == torch.float32
    assert (wide - narrow).abs().max() < 1e-4


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_solvers_refuse_inversion(name):
    with pytest.raises(UsageError, match="cannot invert"):
        integrate(MIXTURE, SOLVERS[name](), start(), grid(log_snr, MIXTURE.schedule, 4)[::-1])


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_solvers_keep_the_distribution_of_the_data(name):
    f = Gaussian(LinearVP())
    levels = grid(log_snr, f.schedule, 400)
    x = Noise(7)(torch.empty(1, 20_000, dtype=torch.float64))
    end = integrate(f, SOLVERS[name](noise=Noise(8)), x, levels).x
    last = levels[-1]
    assert end.mean().item() == pytest.approx(last.alpha * 1.0, abs=0.02)
    assert end.var().item() == pytest.approx(last.alpha**2 * 0.25 + last.sigma**2, rel=0.06)


@pytest.mark.parametrize("make", [sde_dpmpp_1, EulerAncestral])
def test_first_order_stochastic_step_is_the_posterior_of_ddpm(make):
    """For a known x0 the step must have the mean and variance of q(x_u | x_t, x0), over any stride."""
    schedule = LinearVP()
    t, u = schedule.level(0.8), schedule.level(0.3)
    clean = torch.tensor([0.4], dtype=torch.float64)

    def step(noise):
        f = Network(lambda x, _: clean, schedule, "x0", clock=lambda level: 0.0, dtype=torch.float64)
        return integrate(f, make(noise=lambda x, _: torch.full_like(x, noise)), start(), (t, u)).x.item()

    forward = t.alpha / u.alpha
    added = t.sigma**2 - forward**2 * u.sigma**2
    mean = (forward * u.sigma**2 * MIXTURE_START + u.alpha * added * 0.4) / t.sigma**2
    assert step(0.0) == pytest.approx(mean, abs=1e-13)
    assert step(1.0) - step(0.0) == pytest.approx(u.sigma * added**0.5 / t.sigma, abs=1e-13)


def test_noise_belongs_to_seed_item_and_step():
    like = torch.empty(3, 5)
    noise = Noise(4)
    assert torch.equal(noise(like, 2)[1], Noise(4, (1,))(like[:1], 2)[0])
    assert torch.equal(noise(like.double(), 2), noise(like, 2).double())
    different = [noise(like, 2)[0], noise(like, 3)[0], noise(like, 2)[1], Noise(5)(like, 2)[0]]
    assert len({tuple(row.tolist()) for row in different}) == 4
    with pytest.raises(UsageError, match="give 0 or more"):
        Noise(-1)
    with pytest.raises(UsageError, match="must agree"):
        Noise(0, (1, 2))(like)


def test_a_watcher_sees_every_step_and_may_stop_the_run():
    seen = []
    levels = grid(log_snr, MIXTURE.schedule, 4)
    run = integrate(MIXTURE, DDIM(), start(), levels, watch=seen.append)
    assert [(p.index, p.steps, p.level) for p in seen] == [(i, 4, level) for i, level in enumerate(levels[1:])]
    assert seen[-1].x is run.x

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        integrate(MIXTURE, DDIM(), start(), levels, watch=stop)


@pytest.mark.parametrize(
    ("times", "message"),
    [([1.0], "two or more"), ([1.0, 0.5, 0.5], "strictly"), ([1.0, 0.2, 0.5], "strictly"), ([0.0, 0.5], "sigma 0")],
)
def test_bad_grids_are_refused(times, message):
    schedule = LinearVP()
    with pytest.raises(UsageError, match=message):
        integrate(MIXTURE, DDIM(), start(), [schedule.level(t) for t in times])


def test_memory_of_a_denoiser_does_not_outlive_a_run():
    class Remembering:
        schedule = LinearVP()

        def __init__(self):
            self.calls = 0

        def __call__(self, x, level):
            self.calls += 1
            return Estimate(x * self.calls, x)

        def fresh(self):
            return Remembering()

    f, levels = Remembering(), grid(log_snr, LinearVP(), 3)
    first, second = (integrate(f, DDIM(), start(), levels).x for _ in range(2))
    assert torch.equal(first, second)


def test_second_order_unip_with_b2_is_dpmpp_2m():
    levels = grid(time_uniform, MIXTURE.schedule, 9)
    ours = integrate(MIXTURE, UniPC(2, corrector=False), random_state(5), levels).x
    torch.testing.assert_close(ours, integrate(MIXTURE, dpmpp_2m(), random_state(5), levels).x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", [DATA, NOISE])
@pytest.mark.parametrize("order", [3, 4, 5])
def test_unip_is_exact_for_polynomials(form, order):
    """Weights of order p against numerical integration of a polynomial of degree p - 1 over the step."""
    hh = -0.7 if form is DATA else 0.7
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


def test_network_binds_conditioning_label_and_dtype():
    seen = {}

    def net(x, label, *, text):
        seen.update(x=x, label=label, text=text)
        return x

    schedule = SCHEDULES["discrete"]
    text = torch.ones(2)
    f = Network(net, schedule, "eps", schedule.label, {"text": text}, torch.bfloat16)
    estimate = f(random_state(2, 3, dtype=torch.float32), schedule.knot(12))
    assert seen["x"].dtype == torch.bfloat16 and seen["text"] is text
    assert seen["label"].tolist() == [12, 12]
    assert estimate.x0.dtype == torch.float32
    replaced = replace(f, given={"text": torch.zeros(2)})
    replaced(random_state(2, 3), schedule.knot(0))
    assert seen["text"].sum() == 0


def test_prediction_types_of_one_network_give_one_trajectory():
    schedule = LinearVP()
    levels = grid(log_snr, schedule, 8)
    x = random_state(3)

    def output(predicts, x, level):
        x0, eps = MIXTURE(x, level)
        return {"x0": x0, "eps": eps, "v": level.alpha * eps - level.sigma * x0}[predicts]

    def run(predicts):
        by_time = {level.t: level for level in levels}
        net = lambda x, label: output(predicts, x, by_time[label[0].item()])  # noqa: E731
        f = Network(net, schedule, predicts, lambda level: level.t, dtype=torch.float64)
        return integrate(f, dpmpp_2m(), x, levels).x

    torch.testing.assert_close(run("x0"), run("eps"), rtol=0, atol=1e-12)
    torch.testing.assert_close(run("v"), run("eps"), rtol=0, atol=1e-12)


def test_guidance_extrapolates_inside_its_interval_only():
    schedule = LinearVP()
    conditional, unconditional = (Counted(Gaussian(schedule, mean=m)) for m in (1.0, -0.5))
    x, inside, outside = start(1, 2), schedule.level(0.5), schedule.level(0.05)
    f = Guided(conditional, unconditional, scale=3.0, interval=(0.1, 0.9))
    a, b = unconditional.inner(x, inside), conditional.inner(x, inside)
    torch.testing.assert_close(f(x, inside).eps, a.eps + 3 * (b.eps - a.eps))
    torch.testing.assert_close(f(x, inside).x0, a.x0 + 3 * (b.x0 - a.x0))
    calls = unconditional.tally.calls
    assert torch.equal(f(x, outside).x0, conditional.inner(x, outside).x0)
    assert torch.equal(replace(f, scale=1.0)(x, inside).x0, b.x0)
    assert unconditional.tally.calls == calls


def test_rescaled_guidance_has_the_deviation_of_the_conditional_estimate():
    schedule = LinearVP()
    conditional, unconditional = Gaussian(schedule, variance=0.5), Gaussian(schedule, variance=0.1)
    x, level = random_state(2, 50), schedule.level(0.3)
    f = Guided(conditional, unconditional, scale=4.0, rescale=1.0)
    estimate = f(x, level)
    torch.testing.assert_close(estimate.x0.std(dim=1), conditional(x, level).x0.std(dim=1))
    torch.testing.assert_close(level.alpha * estimate.x0 + level.sigma * estimate.eps, x)


def test_thresholding_bounds_each_item_by_its_own_quantile():
    schedule = LinearVP()
    x0 = torch.stack([torch.linspace(-4, 4, 1001), torch.linspace(-0.5, 0.5, 1001)]).double()
    level = schedule.level(0.5)
    f = Network(lambda x, label: x0, schedule, "x0", schedule_time, dtype=torch.float64)
    x = random_state(2, 1001)
    estimate = Thresholded(f)(x, level)
    bound = x0[0].abs().sort().values[995].item()
    assert estimate.x0[0].abs().max() == pytest.approx(1.0)
    assert estimate.x0[0, 700].item() == pytest.approx(x0[0, 700].item() / bound, rel=1e-12)
    assert torch.equal(estimate.x0[1], x0[1])
    torch.testing.assert_close(level.alpha * estimate.x0 + level.sigma * estimate.eps, x)


def schedule_time(level):
    return level.t


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_cuda_agrees_with_the_cpu(name):
    levels = grid(log_snr, MIXTURE.schedule, 12, clean=True)
    x = random_state(4, 3, 16, 16, dtype=torch.float32)
    cpu = integrate(MIXTURE, SOLVERS[name](), x, levels).x
    cuda = integrate(MIXTURE, SOLVERS[name](), x.cuda(), levels).x
    assert cuda.is_cuda
    torch.testing.assert_close(cuda.cpu(), cpu, rtol=0, atol=5e-4)

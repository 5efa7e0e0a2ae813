"""Networks as denoisers, and the denoisers that wrap them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from problems import DISCRETE, MIXTURE, Gaussian, TwoDenoisers, random_state, start

from fastdiff.apps.attack.gradient import Checkpointed
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.denoiser import CountingDenoiser, Network, SingleLevelDenoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import grid, log_snr
from fastdiff.solvers.guidance import ClassifierFree, EstimatePair, Guided, Interval, Masked, Rescaled, Thresholded
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.learned_correction import RecordingDenoiser
from fastdiff.solvers.precomputed import PrecomputedDenoiser, precompute
from fastdiff.solvers.schedule import LinearVP


def test_memory_of_a_denoiser_does_not_outlive_a_run():
    class Remembering(SingleLevelDenoiser):
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


def test_network_binds_conditioning_label_and_dtype():
    seen: dict[str, Any] = {}

    def net(x, label, *, text):
        seen.update(x=x, label=label, text=text)
        return x

    text = torch.ones(2)
    f = Network(net, DISCRETE, "eps", DISCRETE.timestep, {"text": text}, torch.bfloat16)
    estimate = f(random_state(2, 3, dtype=torch.float32), DISCRETE.at_timestep(12))
    assert seen["x"].dtype == torch.bfloat16 and seen["text"] is text
    assert seen["label"].tolist() == [12, 12]
    assert estimate.x0.dtype == torch.float32
    replaced = replace(f, given={"text": torch.zeros(2)})
    replaced(random_state(2, 3), DISCRETE.at_timestep(0))
    assert seen["text"].sum() == 0


@pytest.mark.parametrize("rows", [1, 4, 5, 100])
def test_states_at_several_levels_are_answered_in_few_calls_as_one_by_one(rows):
    labels: list[list[float]] = []
    given = {"text": random_state(2, 3)}

    def net(x, label, *, text):
        labels.append(label.tolist())
        return x * label[:, None] + text

    network = Network(net, DISCRETE, "v", DISCRETE.timestep, given, torch.float64)
    counted = CountingDenoiser(network)
    f = CountingDenoiser(counted)
    levels, states = grid(log_snr, DISCRETE, 4), random_state(5, 2, 3)
    answered = precompute(f, states, levels, rows)
    count = max(1, rows // 2)
    assert f.tally.nfe == counted.tally.nfe == len(labels) == -(-5 // count)
    assert labels[0] == [DISCRETE.timestep(level) for level in levels[:count] for _ in range(2)]
    for x, level in zip(states, levels, strict=True):
        for told, alone in zip(answered(x, level), network(x, level), strict=True):
            torch.testing.assert_close(told, alone, rtol=0, atol=1e-12)
    calls = f.tally.nfe
    answered(states[0], DISCRETE.level(0.5))
    assert f.tally.nfe == calls + 1


LEVELS, STATES = grid(log_snr, DISCRETE, 4), random_state(5, 2, 3)


@pytest.mark.parametrize(
    "wrap",
    [
        CountingDenoiser,
        Checkpointed,
        Thresholded,
        lambda f: RecordingDenoiser(f, []),
        lambda f: PrecomputedDenoiser(f, {}),
        lambda f: PrecomputedDenoiser(f, {level: f(x, level) for x, level in zip(STATES[:2], LEVELS[:2], strict=True)}),
    ],
)
def test_every_wrapper_forwards_batched_evaluation(wrap):
    calls = []

    def net(x, label):
        calls.append(len(x))
        return x * label[:, None]

    f = wrap(Network(net, DISCRETE, "v", DISCRETE.timestep, dtype=torch.float64))
    alone = [f(x, level) for x, level in zip(STATES, LEVELS, strict=True)]
    calls.clear()
    assert f.batched and f.schedule is DISCRETE
    for one, other in zip(f.fresh().at_levels(STATES, LEVELS), alone, strict=True):
        torch.testing.assert_close(torch.stack(one), torch.stack(other), rtol=0, atol=1e-12)
    assert len(calls) == 1


def test_a_denoiser_that_takes_one_level_is_not_asked_ahead():
    f = CountingDenoiser(CountingDenoiser(MIXTURE))
    assert precompute(f, random_state(5, 2, 3), grid(log_snr, MIXTURE.schedule, 4), 100) is f
    assert f.tally.nfe == 0
    f.at_levels(random_state(5, 2, 3), grid(log_snr, MIXTURE.schedule, 4))
    assert f.tally.nfe == 5


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
    conditional, unconditional = (CountingDenoiser(Gaussian(schedule, mean=m)) for m in (1.0, -0.5))
    x, inside, outside = random_state(1, 2), schedule.level(0.5), schedule.level(0.05)
    f = Guided(TwoDenoisers(conditional, unconditional), Interval(ClassifierFree(3.0), 0.1, 0.9))
    a, b = unconditional.inner(x, inside), conditional.inner(x, inside)
    torch.testing.assert_close(f(x, inside).eps, a.eps + 3 * (b.eps - a.eps))
    torch.testing.assert_close(f(x, inside).x0, a.x0 + 3 * (b.x0 - a.x0))
    calls = unconditional.tally.nfe
    assert torch.equal(f(x, outside).x0, conditional.inner(x, outside).x0)
    assert torch.equal(replace(f, rule=ClassifierFree(1.0))(x, inside).x0, b.x0)
    assert unconditional.tally.nfe == calls


def test_rescaled_guidance_has_the_deviation_of_the_conditional_estimate():
    schedule = LinearVP()
    conditional, unconditional = Gaussian(schedule, variance=0.5), Gaussian(schedule, variance=0.1)
    x, level = random_state(2, 50), schedule.level(0.3)
    f = Guided(TwoDenoisers(conditional, unconditional), Rescaled(ClassifierFree(4.0), 1.0))
    estimate = f(x, level)
    torch.testing.assert_close(estimate.x0.std(dim=1), conditional(x, level).x0.std(dim=1))
    torch.testing.assert_close(level.alpha * estimate.x0 + level.sigma * estimate.eps, x)


def test_rows_have_their_own_scale_and_a_mask_leaves_the_unconditional_estimate():
    schedule = LinearVP()
    network = TwoDenoisers(Gaussian(schedule, mean=1.0), Gaussian(schedule, mean=-0.5))
    x, level = random_state(2, 3), schedule.level(0.5)
    (pair,) = network.pairs(x[None], (level,))
    f = Guided(network, ClassifierFree((1.0, 3.0)))
    difference = pair.conditional.x0 - pair.unconditional.x0
    torch.testing.assert_close(f(x, level).x0[0], pair.conditional.x0[0])
    torch.testing.assert_close(f(x, level).x0[1], (pair.unconditional.x0 + 3 * difference)[1])
    seen, mask = [], torch.tensor([0.0, 1.0, 0.5], dtype=x.dtype)

    def masked(difference, level):
        seen.append(difference)
        return mask

    part = Guided(network, Masked(f.rule, masked))(x, level).eps
    without = pair.unconditional.eps
    torch.testing.assert_close(part, without + mask * (f(x, level).eps - without))
    assert torch.equal(seen[0], pair.conditional.eps - pair.unconditional.eps)


def test_levels_in_and_outside_an_interval_take_one_call_each():
    schedule = LinearVP()
    network = TwoDenoisers(Gaussian(schedule, mean=1.0), Gaussian(schedule, mean=-0.5))
    f = Guided(network, Interval(ClassifierFree(3.0), 0.1, 0.9))
    levels = [schedule.level(t) for t in (0.95, 0.5, 0.05)]
    states = torch.stack([random_state(2, 3)] * 3)
    for estimate, x, level in zip(f.at_levels(states, levels), states, levels, strict=True):
        assert torch.equal(estimate.x0, f(x, level).x0)


def test_a_rule_of_ones_own_needs_this_file_alone():
    class Halfway:
        def needs_unconditional(self, level):
            return True

        def combine(self, pair: EstimatePair, x, level):
            return Estimate(*((a + b) / 2 for a, b in zip(*pair, strict=True)))

    schedule = LinearVP()
    network = TwoDenoisers(Gaussian(schedule, mean=1.0), Gaussian(schedule, mean=-0.5))
    x, level = random_state(2, 3), schedule.level(0.5)
    half = Guided(network, ClassifierFree(0.5))(x, level)
    torch.testing.assert_close(Guided(network, Halfway())(x, level).x0, half.x0)


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

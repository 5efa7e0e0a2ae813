"""Caches of tokens: off switches, the choice of tokens, rows, state of a run, cost, and refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import tiny_sana
import tiny_sd3
import torch
from cached_runs import Runs

from fastdiff.models.acceleration.cached_denoiser import CachedDenoiser
from fastdiff.models.acceleration.cost import flop_counter
from fastdiff.models.acceleration.registry import Tokens, cached, for_budget
from fastdiff.models.acceleration.token_cache import partial_calls
from fastdiff.models.acceleration.token_choice import WINDOW, chosen_tokens, on_tokens
from fastdiff.models.acceleration.token_forecast import first_token_forecast
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.hooks import AttentionLayer, HookedDenoiser, Processor
from fastdiff.models.registry import load_model
from fastdiff.models.sampling_problem import load_sampling_problem
from fastdiff.solvers.denoiser import DenoiserWrapper
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.forecast import Track, angle_of
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sada import SADA, gap_and_bend
from fastdiff.solvers.sampler_config import SamplerConfig
from fastdiff.solvers.schedule import Level

RUNS = Runs()
HALF = Tokens(0.5, 2)
PARTIAL = {3, 4, 6, 7, 9, 10}  # steps of RUNS with HALF
N = 16  # tokens of RUNS


def partial_steps(f: CachedDenoiser) -> set[int]:
    return {call.step for call in f.decisions if max(call.shares) < 1}


@pytest.mark.parametrize(("off", "equal"), [(Tokens(1.0, 0), True), (Tokens(0.1, 0), True), (Tokens(1.0, 4), False)])
def test_a_cache_that_is_off_is_the_plain_run(off: Tokens, equal: bool) -> None:
    f = RUNS.cached(off)
    end = RUNS.sampled(f)
    torch.testing.assert_close(end, RUNS.plain(), rtol=0, atol=1e-6)
    assert torch.equal(end, RUNS.plain()) or not equal
    assert f.cost == pytest.approx(RUNS.steps)


def test_partial_calls_lie_within_a_run_and_a_whole_one_follows() -> None:
    f = RUNS.cached(HALF)
    RUNS.sampled(f)
    assert partial_steps(f) == PARTIAL and partial_calls(RUNS.steps, 2) == len(PARTIAL)
    assert [partial_calls(50, longest) for longest in (0, 1, 4, 50)] == [0, 19, 30, 37]
    assert [call.step for call in f.decisions] == list(range(RUNS.steps))


def test_rows_of_a_batch_of_sixteen_are_those_of_single_runs() -> None:
    runs = Runs(rows=16)
    batch = runs.sampled(runs.cached(HALF))
    assert not torch.allclose(batch, runs.plain(), atol=1e-3)
    for row in (0, 5, 15):
        alone = runs.sampled(runs.cached(HALF, [row]), [row])
        torch.testing.assert_close(alone, batch[row : row + 1], rtol=0, atol=1e-5)


def test_a_run_remembers_nothing_of_the_one_before_nor_after_a_failure() -> None:
    f = RUNS.cached(HALF)
    first, log = RUNS.sampled(f), f.decisions
    integrate(f, dpmpp_2m(), -RUNS.x, RUNS.levels)
    with pytest.raises(RuntimeError):
        integrate(f, dpmpp_2m(), RUNS.x[:, :3], RUNS.levels)
    assert all("forward" not in vars(module) for module in RUNS.network.modules())
    assert torch.equal(RUNS.sampled(f), first) and f.decisions == log


def test_a_call_of_other_rows_or_of_a_step_that_does_not_follow_begins_anew() -> None:
    f = RUNS.cached(HALF).fresh()
    for step in range(4):
        f(RUNS.x, RUNS.levels[step])
    assert partial_steps(f) == {3}
    two = replace(f, inner=RUNS.cached(HALF, [0, 1]).inner)
    for step in (4, 5, 6, 7, 9, 10):
        two(RUNS.x[:2], RUNS.levels[step])
    assert partial_steps(f) == {3, 7}
    estimate = two(RUNS.x[:2], RUNS.levels[5])
    assert torch.equal(estimate.x0, two.inner(RUNS.x[:2], RUNS.levels[5]).x0)


def test_stability_is_the_sign_of_sadas_criterion_and_straight_runs_are_stable() -> None:
    """On slopes that are polynomials of the angle, one a position: straight, calming and bending more and more."""
    *angles, start, end = [angle_of(level) for level in RUNS.levels[1:5]]
    top = angle_of(RUNS.levels[0])

    def slopes(angle: float) -> torch.Tensor:
        return torch.tensor([0.7, angle**2, (top - angle) ** 2], dtype=torch.float64)[None]

    track = Track()
    for angle in (*angles, start):
        track = track.added(angle, slopes(angle), [True])
    x = torch.zeros(1, 3, dtype=torch.float64)
    exact = [0.7 * (end - start), (end**3 - start**3) / 3, ((top - start) ** 3 - (top - end) ** 3) / 3]
    gap, _ = gap_and_bend(track, x, torch.tensor(exact, dtype=torch.float64)[None], start, end)
    torch.testing.assert_close(gap, x, rtol=0, atol=1e-14)
    gap, bend = gap_and_bend(track, x, (end - start) * slopes(start), start, end)
    straight, calming, bending = (gap * bend)[0].tolist()
    assert abs(straight) < 1e-14 and calming > 1e-9 and bending < -1e-9


def test_a_window_has_one_drawn_token_and_the_rest_are_the_least_stable() -> None:
    stability = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens = chosen_tokens(stability, 24, step=5)
    assert tokens.shape == (3, 24) and torch.equal(tokens, chosen_tokens(stability, 24, step=5))
    assert torch.equal(tokens[1:2], chosen_tokens(stability[1:2], 24, step=5))
    least = [set(each.flatten().argsort()[:15].tolist()) for each in stability]
    kept = [set(each.tolist()) for each in tokens]
    drawn = set.intersection(*kept)
    assert all(len(each) == 24 and low <= each for each, low in zip(kept, least, strict=True))
    windows = {(token // 8 // WINDOW, token % 8 // WINDOW) for token in drawn}
    assert len(windows) == 9
    assert not torch.equal(chosen_tokens(torch.zeros(1, 8, 8), 9, 5), chosen_tokens(torch.zeros(1, 8, 8), 9, 6))
    few = chosen_tokens(stability, 3, step=5)
    assert all(len(set(each.tolist()) & set(each_low)) >= 2 for each, each_low in zip(few, least, strict=True))


def test_positions_are_pooled_to_the_grid_of_tokens() -> None:
    maps = torch.arange(32.0).reshape(1, 4, 8)
    assert torch.equal(on_tokens(maps, 32), maps)
    assert torch.equal(on_tokens(maps, 8)[0, 0], torch.tensor([4.5, 6.5, 8.5, 10.5]))
    with pytest.raises(UsageError, match="7 tokens of a state of 4 x 8: tokens must be square patches"):
        on_tokens(maps, 7)


def test_forecasts_of_tokens_are_lines_through_their_own_values() -> None:
    rate = torch.tensor([1.0, -2.0])[None, :, None]
    forecast = first_token_forecast(2, 2 * rate).updated(4, None, 4 * rate)
    assert torch.equal(forecast.at(7), 7 * rate)
    part = forecast.updated(5, torch.tensor([[1]]), torch.tensor([[[0.0]]]))
    assert torch.equal(part.at(5), torch.tensor([[[5.0], [0.0]]]))
    assert torch.equal(part.at(6), torch.tensor([[[6.0], [8.0]]]))
    assert first_token_forecast(0, rate.bfloat16()).values.dtype == torch.float32


@pytest.mark.parametrize("tokens", [4, 8])
def test_the_cost_is_that_of_the_counted_operations(tokens: int) -> None:
    f = RUNS.cached(Tokens(tokens / N, 2))
    RUNS.sampled(f)
    with flop_counter() as cached_run:
        RUNS.sampled(f)
    with flop_counter() as plain:
        RUNS.plain()
    expected = cached_run.get_total_flops() / plain.get_total_flops()
    assert f.cost / RUNS.steps == pytest.approx(expected, rel=1e-6)
    assert len({share for call in f.decisions for share in call.shares}) == 2


def test_the_size_of_a_cache_is_that_of_its_tensors() -> None:
    f = RUNS.cached(HALF)
    RUNS.sampled(f)
    features = RUNS.rows * N * 24 * 8  # bytes of the hidden states, in float64
    assert f.nbytes == (2 + 2 * RUNS.blocks) * features + RUNS.rows * N * 8


def test_tokens_attend_to_all_tokens_with_their_last_keys() -> None:
    """A partial call of the state of the call before computes what a whole one does."""
    f = RUNS.cached(Tokens(0.25, 4)).fresh()

    class Frozen(DenoiserWrapper):
        """Calls the network at one level."""

        def __call__(self, x: torch.Tensor, level: Level) -> Estimate:
            return self.inner(x, RUNS.levels[6])

    still = replace(f, inner=Frozen(f.inner))
    estimates = [still(RUNS.x, RUNS.levels[step]) for step in range(6)]
    assert partial_steps(f) == {3, 4, 5}
    for each in estimates[1:]:
        torch.testing.assert_close(each.eps, estimates[0].eps, rtol=0, atol=1e-9)


def test_budgets_give_a_share_and_a_number_of_calls() -> None:
    assert for_budget("tokens", RUNS.calibration, 1.0) == Tokens(1.0, 0)
    for budget in (0.0, 1.5):
        with pytest.raises(UsageError, match=f"a budget of {budget:g}: give a share of a plain run"):
            for_budget("tokens", RUNS.calibration, budget)
    with pytest.raises(UsageError, match=r"a budget of 0\.1: the calls and tokens that must compute cost 0\.\d+"):
        for_budget("tokens", RUNS.calibration, 0.1)
    previous = 0
    for budget in (0.9, 0.7, 0.6):
        setting = for_budget("tokens", RUNS.calibration, budget)
        assert isinstance(setting, Tokens) and 0 < setting.share < 1 and setting.longest >= previous
        saved = partial_calls(RUNS.steps, setting.longest) / RUNS.steps * sum(RUNS.calibration.shares)
        assert 1 - saved * (1 - setting.share) == pytest.approx(budget)
        previous = setting.longest


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_settings_outside_of_their_range_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match=f"a share of {share:g} of the tokens in 2 calls in a row"):
        RUNS.cached(Tokens(share, 2))
    with pytest.raises(UsageError, match="in -1 calls in a row"):
        RUNS.cached(Tokens(0.5, -1))


@pytest.mark.parametrize("write", [tiny_sana.write, tiny_flux.write])
def test_blocks_that_need_all_tokens_are_refused(write: Callable[[Path], Path], tmp_path: Path) -> None:
    network = load_model(str(write(tmp_path / "model"))).network
    with pytest.raises(UsageError, match="blocks with convolutions or rotary positions need all tokens"):
        cached(HALF, RUNS.denoiser(), network, RUNS.levels, dpmpp_2m())


def test_attention_control_and_merging_are_refused() -> None:
    with pytest.raises(UsageError, match="under attention control, which changes what tokens read"):
        RUNS.cached(HALF, coupled=True)

    class Merging(HookedDenoiser):
        def attention(self, layer: AttentionLayer, processor: Processor, level: Level) -> Processor:
            def merged(attn: Any, hidden: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
                out: torch.Tensor = processor(attn, hidden[:, ::2], *others, **named)
                return out.repeat_interleave(2, 1)

            return processor if layer.cross else merged

    f = cached(HALF, Merging(RUNS.denoiser(), RUNS.network), RUNS.network, RUNS.levels, dpmpp_2m())
    with pytest.raises(UsageError, match="under attention that merges tokens"):
        RUNS.sampled(f)


def test_stochastic_solvers_and_sada_are_refused() -> None:
    for solver, sentence in ((SOLVERS["euler-ancestral"](), "adds noise"), (SADA(dpmpp_2m()), "under SADA")):
        with pytest.raises(UsageError, match=sentence):
            cached(HALF, RUNS.denoiser(), RUNS.network, RUNS.levels, solver)


@pytest.mark.parametrize("changes", [{}, {"dual_attention_layers": (0, 1), "qk_norm": "rms_norm"}])
def test_the_text_of_joint_attention_stays_whole(changes: dict[str, Any], tmp_path: Path) -> None:
    """In Stable Diffusion 3, whose whole calls are those of the plain run, and 3.5."""
    model = load_model(str(tiny_sd3.write(tmp_path / "model", **changes)))
    f = guided_denoiser(model, model.encode_prompts(["a fox", "a cat"]), 3.0, (64, 64))
    levels, solver = grid(time_uniform, model.scheduler((64, 64)).schedule, 12), dpmpp_2m()
    x = 0.7 * torch.randn(2, *model.encode(torch.zeros(1, 3, 64, 64)).shape[1:])
    with torch.inference_mode():
        plain = integrate(f, solver, x, levels).x
        ends = {}
        for share in (1.0, 0.5):
            run = cached(Tokens(share, 3), f, model.network, levels, solver)
            ends[share] = integrate(run, solver, x, levels).x
    torch.testing.assert_close(ends[1.0], plain, rtol=1e-3, atol=1e-4)
    assert 0 < float((ends[0.5] - plain).norm() / plain.norm()) < 0.3 and run.cost < 12


def test_a_cache_of_tokens_follows_the_full_run_better_than_fewer_steps() -> None:
    """On the bundled model, at the same cost."""
    problem = load_sampling_problem("scenes", guidance=4.5)
    f, x = problem.batch(range(4), held=True)

    def levels(steps: int) -> tuple[Level, ...]:
        return SamplerConfig("dpmpp-2m", "time-uniform+clean").levels(problem.schedule, steps)

    with torch.inference_mode():
        run = cached(Tokens(0.25, 1), f, problem.network, levels(25), dpmpp_2m())
        end = integrate(run, dpmpp_2m(), x, levels(25)).x
        full = integrate(f, dpmpp_2m(), x, levels(25)).x
        fewer = integrate(f, dpmpp_2m(), x, levels(int(run.cost + 1))).x
    assert run.cost < 20
    assert (end - full).norm() < (fewer - full).norm() / 2

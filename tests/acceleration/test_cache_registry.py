"""Caches by name: budgets from a calibration, refusals, and the networks of all families."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_flux
import tiny_pixart
import tiny_sana
import tiny_sd3
import tiny_unet
import torch
from cached_runs import Runs, switched_off

from fastdiff.models.acceleration.block_schedule import schedule_by_threshold
from fastdiff.models.acceleration.calibration import calibrate, joined
from fastdiff.models.acceleration.preparation import prepare
from fastdiff.models.acceleration.registry import CACHES, Blocks, Cache, Stack, cached, for_budget
from fastdiff.models.acceleration.rules import FirstBlock, FixedSteps
from fastdiff.models.acceleration.step_schedules import by_magnitude, every
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.hooks import AttentionLayer, HookedDenoiser, Processor
from fastdiff.models.registry import load_model
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.sada import SADA
from fastdiff.solvers.schedule import Level

RUNS = Runs(steps=24)
SIZE = (64, 64)
FAMILIES: dict[str, Callable[[Path], Path]] = {
    "pixart": tiny_pixart.write,
    "sana": tiny_sana.write,
    "sd3": tiny_sd3.write,
    "flux": tiny_flux.write,
}
TOKENWISE = ("pixart", "sd3")  # families whose blocks compute single tokens


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("budget", [1.0, 0.75, 0.5])
def test_a_cache_for_a_budget_meets_it_on_the_calibration_runs(name: str, budget: float) -> None:
    cache = prepare(name, budget, RUNS.calibration, RUNS.denoiser(), RUNS.network, dpmpp_2m(), RUNS.levels, RUNS.x)
    f = RUNS.cached(cache)
    end = RUNS.sampled(f)
    coarse = 0.01 if name == "tokens" else 0.0  # one of 16 tokens costs a twenty-fifth of a run
    assert 0.7 * budget * RUNS.steps < f.cost <= budget * RUNS.steps * (1 + coarse) + 1e-6
    assert torch.equal(end, RUNS.plain()) is (budget == 1.0)


@pytest.mark.parametrize("name", ["first-block", "teacache"])
def test_a_calibration_foretells_what_dynamic_caches_decide(name: str) -> None:
    """Until the first step with a decision to reuse, cached and plain runs are the same."""
    f = RUNS.cached(for_budget(name, RUNS.calibration, 0.9))
    RUNS.sampled(f)
    assert f.cost / RUNS.steps == pytest.approx(0.9, abs=0.1)


def test_calibrations_of_parts_are_those_of_the_whole() -> None:
    parts = [
        calibrate(RUNS.denoiser(rows), RUNS.network, dpmpp_2m(), RUNS.levels, RUNS.x[rows]) for rows in ([0], [1, 2])
    ]
    whole = joined(parts)
    assert torch.allclose(whole.blocks, RUNS.calibration.blocks, rtol=1e-6)
    assert torch.allclose(whole.first_block, RUNS.calibration.first_block)
    assert whole.shares == pytest.approx(RUNS.calibration.shares)


@pytest.mark.parametrize("family", FAMILIES)
def test_caches_work_in_the_networks_of_a_family(family: str, tmp_path: Path) -> None:
    model = load_model(str(FAMILIES[family](tmp_path / "model")))
    f = guided_denoiser(model, model.encode_prompts(["a fox", "a cat"]), 3.0, SIZE)
    levels, solver = grid(time_uniform, model.scheduler(SIZE).schedule, 8), dpmpp_2m()
    shape = model.encode(torch.zeros(1, 3, *SIZE)).shape[1:]
    x = 0.7 * torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = integrate(f, solver, x, levels).x
        calibration = calibrate(f, model.network, solver, levels, x)
        depth = len(calibration.shares)
        names = [name for name in CACHES if name != "tokens" or family in TOKENWISE]
        for cache in map(switched_off(8, depth, calibration.shares).__getitem__, names):
            off = cached(cache, f, model.network, levels, solver)
            assert torch.equal(integrate(off, solver, x, levels).x, plain)
        everything: dict[str, Cache] = {name: for_budget(name, calibration, 0.8) for name in names}
        everything["blocks"] = prepare("blocks", 0.8, calibration, f, model.network, solver, levels, x)
        for cache in everything.values():
            run = cached(cache, f, model.network, levels, solver)
            end = integrate(run, solver, x, levels).x
            assert end.isfinite().all() and not torch.equal(end, plain)
            assert run.cost < 8 and torch.equal(integrate(run, solver, x, levels).x, end)


def test_shares_of_blocks_are_their_parts_of_the_multiplications() -> None:
    """Of linear layers by hand: attention is small here, and counted."""
    net, tokens, width, prompt = RUNS.network, 16, 24, 5
    block = net.transformer_blocks[0]
    weights = sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, torch.nn.Linear))
    of_prompt = block.attn2.to_k.weight.numel() + block.attn2.to_v.weight.numel()
    one = (weights - of_prompt) * tokens + of_prompt * prompt + 2 * tokens * width * (tokens + prompt)
    embedding = net.pos_embed.proj.weight.numel() * tokens + net.proj_out.weight.numel() * tokens
    caption = (net.caption_projection.linear_1.weight.numel() + net.caption_projection.linear_2.weight.numel()) * prompt
    time = sum(layer.weight.numel() for layer in net.adaln_single.modules() if isinstance(layer, torch.nn.Linear))
    total = RUNS.blocks * one + embedding + caption + time
    assert RUNS.calibration.shares == pytest.approx([one / total] * RUNS.blocks, rel=1e-6)


def test_steps_of_an_interval_are_even_and_end_with_the_last() -> None:
    assert every(1, 7, 3) == frozenset(range(7))
    assert every(3, 12, 2) == {0, 1, 4, 7, 10, 11}
    assert every(2.5, 13, 1) == {0, 3, 5, 8, 10, 12}
    assert every(100, 9, 3) == {0, 1, 2, 8}
    with pytest.raises(UsageError, match=r"an interval of 0\.5"):
        every(0.5, 9, 3)


def test_magcache_skips_while_the_product_of_ratios_is_near_one() -> None:
    ratios = [1.0, 0.9, 0.99, 0.99, 0.99, 0.99, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert by_magnitude(ratios, 0.05, longest=3, first=2) == {0, 1, 4, 6, 10, 11}
    assert by_magnitude(ratios, 0.05, longest=0, first=2) == frozenset(range(12))
    assert by_magnitude(ratios, 100.0, longest=100, first=2) == {0, 1, 11}


@pytest.mark.parametrize("name", ["euler-ancestral", "sde-dpmpp-2m", "sa-solver"])
def test_stochastic_solvers_are_refused(name: str) -> None:
    from fastdiff.solvers.noise import Noise

    solver = SOLVERS[name](noise=Noise(0, (0, 1, 2)))
    with pytest.raises(UsageError, match="which adds noise"):
        cached(Stack(FixedSteps(frozenset({0}))), RUNS.denoiser(), RUNS.network, RUNS.levels, solver)


def test_solvers_that_evaluate_twice_in_a_step_or_skip_are_refused() -> None:
    cache = Stack(FixedSteps(frozenset({0})))
    with pytest.raises(UsageError, match="one evaluation per step"):
        cached(cache, RUNS.denoiser(), RUNS.network, RUNS.levels, SOLVERS["heun"]())
    with pytest.raises(UsageError, match="SADA"):
        cached(cache, RUNS.denoiser(), RUNS.network, RUNS.levels, SADA(dpmpp_2m()))
    with pytest.raises(UsageError, match="does not call the network once in every step"):
        calibrate(RUNS.denoiser(), RUNS.network, SOLVERS["heun"](), RUNS.levels, RUNS.x)


def test_guidance_of_some_steps_empties_the_cache_at_its_ends_and_cannot_be_calibrated(tmp_path: Path) -> None:
    model = load_model(str(tiny_pixart.write(tmp_path / "model")))
    levels, solver = grid(time_uniform, model.scheduler(SIZE).schedule, 8), dpmpp_2m()
    prompts = model.encode_prompts(["a fox"])
    f = guided_denoiser(model, prompts, 3.0, SIZE, interval=(levels[5].t, levels[2].t))
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        with pytest.raises(UsageError, match="all calls need the same rows"):
            calibrate(f, model.network, solver, levels, x)
        run = cached(Stack(FirstBlock(1e6)), f, model.network, levels, solver)
        integrate(run, solver, x, levels)
    computed = [call.step for call in run.decisions if min(call.shares) == 1]
    assert [len(call.shares) for call in run.decisions] == [1, 1, 2, 2, 2, 2, 1, 1]
    assert computed == [0, 2, 6, 7]


def test_networks_of_other_blocks_and_unknown_names_are_one_sentence(tmp_path: Path) -> None:
    model = load_model(str(tiny_unet.write_prior(tmp_path / "unet")))
    with pytest.raises(UsageError, match="caches know the blocks of PixArt, Sana, SD3 and FLUX"):
        cached(Stack(FixedSteps(frozenset({0}))), RUNS.denoiser(), model.network, RUNS.levels, dpmpp_2m())
    with pytest.raises(UsageError, match="unknown cache 'teacach', perhaps teacache"):
        for_budget("teacach", RUNS.calibration, 0.5)
    with pytest.raises(UsageError, match="a budget of 0: "):
        for_budget("magcache", RUNS.calibration, 0.0)


def test_a_schedule_is_the_same_setting_by_name() -> None:
    cache = for_budget("blocks", RUNS.calibration, 1.0)
    assert isinstance(cache, Blocks)
    assert cache.schedule.computed == schedule_by_threshold(RUNS.calibration, 0).computed


def test_a_cache_and_hooks_of_attention_go_together() -> None:
    """In either order; coupled rows compute together, as attention across rows needs."""

    class Halved(HookedDenoiser):
        def attention(self, layer: AttentionLayer, processor: Processor, level: Level) -> Processor:
            return lambda *inputs, **named: processor(*inputs, **named) / 2

    f, network = RUNS.denoiser(), RUNS.network
    halved = RUNS.sampled(Halved(f, network))
    off, cache = switched_off(RUNS.steps, RUNS.blocks)["teacache"], for_budget("teacache", RUNS.calibration, 0.7)
    assert not torch.equal(halved, RUNS.plain())
    for each in (off, cache):
        inside = cached(each, Halved(f, network), network, RUNS.levels, dpmpp_2m(), coupled=True)
        outside = Halved(cached(each, f, network, RUNS.levels, dpmpp_2m(), coupled=True), network)
        assert torch.equal(RUNS.sampled(inside), RUNS.sampled(outside))
        assert torch.equal(RUNS.sampled(inside), halved) is (each is off)


@pytest.mark.slow
def test_caches_that_are_off_leave_the_bundled_model_as_it_is() -> None:
    """In float64 and under guidance; caches that are on answer to prompts row by row."""
    model = load_model("scenes", dtype=torch.float64)
    size = (model.resolution, model.resolution)
    f = guided_denoiser(model, model.encode_prompts(["a rose on grass", "a panda"]), 4.5, size)
    levels, solver = grid(time_uniform, model.scheduler(size).schedule, 6), dpmpp_2m()
    x = torch.randn(2, 32, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = integrate(f, solver, x, levels).x
        for cache in switched_off(6, 10, (0.1,) * 10).values():
            off = cached(cache, f, model.network, levels, solver)
            assert torch.equal(integrate(off, solver, x, levels).x, plain)
        on = cached(Stack(FirstBlock(0.3)), f, model.network, levels, solver)
        assert 0 < float((integrate(on, solver, x, levels).x - plain).norm() / plain.norm()) < 0.5
        assert {len(call.shares) for call in on.decisions} == {4} and on.cost < 6

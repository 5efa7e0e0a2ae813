"""Caches of what each block adds: schedules from calibrations, their adjustment, and runs with them."""

from dataclasses import replace
from math import inf
from operator import ge

import pytest
import torch
from cached_runs import Runs, switched_off
from hypothesis import given, settings, strategies as st
from torch import Tensor

from fastdiff.models.acceleration.block_cache import BlockCache
from fastdiff.models.acceleration.block_schedule import BlockSchedule, schedule_by_budget, schedule_by_threshold
from fastdiff.models.acceleration.calibration import Calibration, calibrate
from fastdiff.models.acceleration.preparation import prepare
from fastdiff.models.acceleration.registry import Blocks
from fastdiff.models.acceleration.scale_shift import fit_scale_shift
from fastdiff.models.hooks import blocks
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.integration import integrate

RUNS = Runs()


def calibration_of(changes: Tensor) -> Calibration:
    """A calibration of one row with these changes (L, N), the other changes unknown."""
    nothing = torch.zeros(1, changes.shape[1])
    shares = (0.9 / len(changes),) * len(changes)
    return Calibration(shares, changes[None], torch.zeros(1, 0, 0), nothing, nothing, nothing)


def test_a_schedule_that_computes_everything_is_the_plain_run_bit_by_bit() -> None:
    for cache in (switched_off(RUNS.steps, RUNS.blocks)["blocks"], Blocks(schedule_by_threshold(RUNS.calibration, 0))):
        f = RUNS.cached(cache)
        assert torch.equal(RUNS.sampled(f), RUNS.plain()) and f.cost == pytest.approx(RUNS.steps)


def test_an_infinite_threshold_computes_the_first_two_steps_and_the_last() -> None:
    schedule = schedule_by_threshold(RUNS.calibration, inf)
    assert schedule.computed == ((True, True, *[False] * 9, True),) * RUNS.blocks
    f = RUNS.cached(Blocks(schedule))
    assert RUNS.sampled(f).isfinite().all() and f.cost == pytest.approx(schedule.cost)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**31), st.floats(0, 3), st.floats(0, 3))
def test_a_smaller_threshold_never_computes_less(seed: int, one: float, other: float) -> None:
    changes = torch.rand(3, 30, generator=torch.Generator().manual_seed(seed)) ** 2
    small, large = (schedule_by_threshold(calibration_of(changes), each) for each in sorted((one, other)))
    assert all(map(ge, map(sum, small.computed), map(sum, large.computed))) and small.cost >= large.cost - 1e-9


def test_a_block_is_reused_while_its_accumulated_change_is_at_most_the_threshold() -> None:
    changes = torch.tensor([[0, 0.9, 0.25, 0.25, 0.25, 0.75, 0.1, 0.1], [0, 0, 0, 0, 0, 0, 0, 0]])
    computed = schedule_by_threshold(calibration_of(changes), 0.5).computed
    assert computed == ((1, 1, 0, 0, 1, 1, 0, 1), (1, 1, 0, 0, 0, 0, 0, 1))


@pytest.mark.parametrize("budget", [0.4, 0.5, 0.75, 1.0])
def test_the_schedule_of_a_budget_keeps_it_and_no_smaller_threshold_does(budget: float) -> None:
    schedule = schedule_by_budget(RUNS.calibration, budget)
    assert schedule.cost <= budget * RUNS.steps
    f = RUNS.cached(Blocks(schedule))
    RUNS.sampled(f)
    assert f.cost == pytest.approx(schedule.cost)
    thresholds = torch.linspace(0, 4, 400).tolist()
    costs = {
        cost for each in thresholds if (cost := schedule_by_threshold(RUNS.calibration, each).cost) > schedule.cost
    }
    assert all(cost > budget * RUNS.steps for cost in costs)


@pytest.mark.parametrize("budget", [0.0, 1.5, 0.1])
def test_a_budget_that_cannot_be_met_is_one_sentence(budget: float) -> None:
    with pytest.raises(UsageError, match=f"a budget of {budget:g}: "):
        schedule_by_budget(RUNS.calibration, budget)


def test_calibration_gives_the_same_numbers_twice_and_leaves_the_network_as_it_was() -> None:
    one, two = RUNS.calibration, calibrate(RUNS.denoiser(), RUNS.network, dpmpp_2m(), RUNS.levels, RUNS.x)
    assert one.shares == two.shares and torch.equal(one.blocks, two.blocks) and torch.equal(one.stack, two.stack)
    assert schedule_by_budget(one, 0.5).computed == schedule_by_budget(two, 0.5).computed
    assert all("forward" not in vars(block.module) for block in blocks(RUNS.network))


def test_changes_are_those_of_what_blocks_add() -> None:
    """Of a network whose second block adds nothing that depends on the state, and whose third adds nothing."""
    runs = Runs(blocks=3)
    net = runs.network
    still, silent = net.transformer_blocks[1], net.transformer_blocks[2]
    net.adaln_single.linear.weight.data.zero_()  # the timestep no longer moves gates
    for block in (still, silent):
        block.attn1.to_out[0].weight.data.zero_()
        block.attn2.to_out[0].weight.data.zero_()
        block.ff.net[2].weight.data.zero_()
    for layer in (silent.attn1.to_out[0], silent.attn2.to_out[0], silent.ff.net[2]):
        layer.bias.data.zero_()
    changes = calibrate(runs.denoiser(), net, dpmpp_2m(), runs.levels, runs.x).changes
    assert torch.all(changes[0, 1:] > 1e-3) and torch.all(changes[1:] < 1e-6)


def test_scale_and_shift_bring_held_out_runs_nearer_to_the_plain_ones() -> None:
    runs = Runs(rows=12)
    half = range(6)
    schedule = schedule_by_budget(runs.calibration, 0.6)
    fitted = fit_scale_shift(schedule, runs.denoiser(half), runs.network, dpmpp_2m(), runs.levels, runs.x[list(half)])
    held = range(6, 12)
    plain = runs.plain()[6:]
    errors = [
        float((runs.sampled(runs.cached(Blocks(each), held), held) - plain).square().mean())
        for each in (schedule, fitted)
    ]
    assert errors[1] < errors[0]
    neutral = replace(fitted, scales=torch.ones_like(fitted.scales), shifts=torch.zeros_like(fitted.shifts))  # type: ignore[arg-type]
    assert torch.allclose(runs.sampled(runs.cached(Blocks(neutral))), runs.sampled(runs.cached(Blocks(schedule))))
    assert torch.equal(runs.sampled(runs.cached(Blocks(fitted))), runs.sampled(runs.cached(Blocks(fitted))))


def test_a_block_cache_remembers_nothing_of_the_run_before_nor_after_a_failure() -> None:
    f = RUNS.cached(Blocks(schedule_by_budget(RUNS.calibration, 0.5)))
    first, log = RUNS.sampled(f), f.decisions
    with pytest.raises(RuntimeError):
        integrate(f, dpmpp_2m(), RUNS.x[:, :3], RUNS.levels)
    assert all("forward" not in vars(block.module) for block in blocks(RUNS.network))
    integrate(f, dpmpp_2m(), -RUNS.x, RUNS.levels)
    assert torch.equal(RUNS.sampled(f), first) and f.decisions == log
    assert f.nbytes == RUNS.blocks * RUNS.rows * 16 * 24 * 8


def test_a_schedule_of_another_network_or_grid_is_refused() -> None:
    schedule = BlockSchedule(((True,) * 12,) * 3, (0.3,) * 3)
    with pytest.raises(UsageError, match="a schedule of 3 blocks and 12 steps for a run of 4 and 12"):
        BlockCache(RUNS.denoiser(), RUNS.network, RUNS.levels, schedule)


def test_a_single_item_does_not_decide_about_scales_and_shifts() -> None:
    runs = Runs(rows=1)
    cache = prepare("blocks", 0.6, runs.calibration, runs.denoiser(), runs.network, dpmpp_2m(), runs.levels, runs.x)
    assert isinstance(cache, Blocks) and cache.schedule.scales is None
    assert cache.schedule.computed == schedule_by_budget(runs.calibration, 0.6).computed


def test_an_inversion_has_a_schedule_of_its_own() -> None:
    upwards, solver = RUNS.levels[::-1], dpmpp_2m()
    start = RUNS.plain()
    calibration = calibrate(RUNS.denoiser(), RUNS.network, solver, upwards, start)
    schedule = schedule_by_budget(calibration, 0.5)
    f = BlockCache(RUNS.denoiser(), RUNS.network, upwards, schedule)
    end = integrate(f, solver, start, upwards).x
    assert f.cost == pytest.approx(schedule.cost) and [call.step for call in f.decisions] == list(range(RUNS.steps))
    plain = integrate(RUNS.denoiser(), solver, start, upwards).x
    assert 0 < float((end - plain).norm() / plain.norm()) < 0.2

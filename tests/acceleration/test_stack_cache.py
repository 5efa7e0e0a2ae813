"""Caches of what all blocks add: off switches, rows, state of a run, and cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from typing import Any

import pytest
import torch
from cached_runs import Runs, switched_off

from fastdiff.models.acceleration.registry import Cache, Stack
from fastdiff.models.acceleration.rules import FirstBlock, FixedSteps, TeaCache
from fastdiff.models.acceleration.stack_cache import StackCache
from fastdiff.models.acceleration.step_schedules import every
from fastdiff.models.hooks import Block, Forward, blocks, hooked_blocks
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.integration import integrate

RUNS = Runs()
CACHES: dict[str, Cache] = {
    "first-block": Stack(FirstBlock(0.42)),
    "first-block, order 1": Stack(FirstBlock(0.42), order=1),
    "teacache": Stack(TeaCache(0.475)),
    "taylor": Stack(FixedSteps(every(2.5, RUNS.steps, 3)), order=1),
}
DYNAMIC = ("first-block", "first-block, order 1", "teacache")


@contextmanager
def rows_seen(network: Any) -> Iterator[list[tuple[int, int]]]:
    """The block and the number of rows of every computation."""
    seen: list[tuple[int, int]] = []

    def watching(block: Block, forward: Forward) -> Forward:
        def called(*inputs: Any, **named: Any) -> Any:
            out = forward(*inputs, **named)
            seen.append((block.index, len(out)))
            return out

        return called

    with hooked_blocks(blocks(network), watching):
        yield seen


@pytest.mark.parametrize("name", [name for name in switched_off(1, 1) if name != "blocks"])
def test_a_cache_that_is_off_is_the_plain_run_bit_by_bit(name: str) -> None:
    f = RUNS.cached(switched_off(RUNS.steps, RUNS.blocks)[name])
    assert torch.equal(RUNS.sampled(f), RUNS.plain())
    assert f.cost == pytest.approx(RUNS.steps)
    assert [call.step for call in f.decisions] == list(range(RUNS.steps))


@pytest.mark.parametrize("name", CACHES)
def test_rows_of_a_batch_are_those_of_single_runs(name: str) -> None:
    runs = Runs(rows=16)
    together = runs.cached(CACHES[name])
    batch = runs.sampled(together)
    shares = torch.tensor([call.shares for call in together.decisions])
    assert (shares < 0.9).any() and (name not in DYNAMIC or (shares != shares[:, :1]).any())
    assert not torch.allclose(batch, runs.plain(), atol=1e-3)
    for row in (0, 5, 15):
        alone = runs.cached(CACHES[name], [row])
        assert torch.allclose(runs.sampled(alone, [row]), batch[row : row + 1], atol=1e-5)
        assert [call.shares for call in alone.decisions] == [(call.shares[row],) for call in together.decisions]


@pytest.mark.parametrize("name", CACHES)
def test_a_run_remembers_nothing_of_the_one_before(name: str) -> None:
    f = RUNS.cached(CACHES[name])
    first, log = RUNS.sampled(f), f.decisions
    integrate(f, dpmpp_2m(), -RUNS.x, RUNS.levels)
    assert f.decisions != () and torch.equal(RUNS.sampled(f), first) and f.decisions == log


@pytest.mark.parametrize("name", CACHES)
def test_blocks_have_their_own_forward_functions_after_a_run_that_fails(name: str) -> None:
    f = RUNS.cached(CACHES[name])
    expected = RUNS.sampled(f)
    with pytest.raises(RuntimeError):
        integrate(f, dpmpp_2m(), RUNS.x[:, :3], RUNS.levels)
    with pytest.raises(KeyboardInterrupt):
        integrate(f, dpmpp_2m(), RUNS.x, RUNS.levels, watch=_stop)
    assert all("forward" not in vars(block.module) for block in blocks(RUNS.network))
    assert torch.equal(RUNS.sampled(f), expected)


def _stop(progress: Any) -> None:
    if progress.step.index == 4:
        raise KeyboardInterrupt


def test_an_infinite_threshold_computes_the_first_and_the_last_step_alone() -> None:
    for cache, head in ((Stack(FirstBlock(inf)), 1), (Stack(TeaCache(inf)), 0)):
        f = RUNS.cached(cache)
        with rows_seen(RUNS.network) as seen:
            RUNS.sampled(f)
        calls = [(block, rows) for block, rows in seen if block >= head]
        assert calls == [(block, RUNS.rows) for block in range(head, RUNS.blocks)] * 2
        assert len(seen) - len(calls) == head * RUNS.steps


@pytest.mark.parametrize("name", CACHES)
def test_blocks_compute_the_chosen_rows_alone_and_the_cost_is_theirs(name: str) -> None:
    f = RUNS.cached(CACHES[name])
    with rows_seen(RUNS.network) as seen:
        RUNS.sampled(f)
    computed = torch.zeros(RUNS.blocks)
    for block, rows in seen:
        computed[block] += rows
    head = f.rule.head if isinstance(f, StackCache) else 0
    assert torch.all(computed[:head] == RUNS.rows * RUNS.steps) and len(set(computed[head:].tolist())) == 1
    assert computed[-1] < 0.9 * RUNS.rows * RUNS.steps
    rest = 1 - sum(f.log.shares)
    expected = RUNS.steps * rest + (computed / RUNS.rows) @ torch.tensor(f.log.shares)
    assert f.cost == pytest.approx(float(expected), rel=1e-5)
    assert len({share for call in f.decisions for share in call.shares}) == 2


def test_coupled_rows_make_one_decision() -> None:
    for name in DYNAMIC:
        alone, coupled = RUNS.cached(CACHES[name]), RUNS.cached(CACHES[name], coupled=True)
        RUNS.sampled(alone)
        RUNS.sampled(coupled)
        assert all(len(set(call.shares)) == 1 for call in coupled.decisions)
        assert any(len(set(call.shares)) > 1 for call in alone.decisions)
        assert min(call.shares for call in coupled.decisions)[0] < 0.9


def test_a_call_of_other_rows_begins_with_an_empty_cache() -> None:
    f = RUNS.cached(Stack(FirstBlock(inf))).fresh()
    f(RUNS.x, RUNS.levels[0])
    assert f(RUNS.x, RUNS.levels[1]) is not None and max(f.decisions[1].shares) < 1
    other = RUNS.cached(Stack(FirstBlock(inf)), [0, 1]).inner
    estimate = replace(f, inner=other)(RUNS.x[:2], RUNS.levels[2])
    assert torch.equal(estimate.x0, other(RUNS.x[:2], RUNS.levels[2]).x0) and f.decisions[2].shares == (1.0, 1.0)


def test_a_cache_works_upwards_too() -> None:
    runs = Runs()
    upwards = runs.levels[::-1]
    steps = every(3, runs.steps, 2)
    f = StackCache(runs.denoiser(), runs.network, upwards, FixedSteps(steps))
    end = integrate(f, dpmpp_2m(), runs.x, upwards).x
    assert [call.step for call in f.decisions] == list(range(runs.steps))
    assert {call.step for call in f.decisions if min(call.shares) == 1} == steps
    assert end.isfinite().all()


def test_the_size_of_a_cache_is_that_of_its_tensors() -> None:
    features = RUNS.rows * 16 * 24 * 8  # bytes of the hidden states, in float64
    sizes = {}
    for name, cache in CACHES.items():
        f = RUNS.cached(cache)
        RUNS.sampled(f)
        sizes[name] = f.nbytes
    assert sizes["taylor"] == 2 * features and sizes["first-block"] == 2 * features
    assert sizes["first-block, order 1"] == 3 * features
    assert 2 * features <= sizes["teacache"] <= 2 * features + 8 * RUNS.rows


def test_a_batch_of_levels_meets_the_cache_one_by_one() -> None:
    f, levels = RUNS.cached(CACHES["teacache"]), RUNS.levels[:3]
    together = f.fresh().at_levels(torch.stack([RUNS.x] * 3), levels)
    alone = f.fresh()
    assert all(torch.equal(each.x0, alone(RUNS.x, level).x0) for each, level in zip(together, levels, strict=True))

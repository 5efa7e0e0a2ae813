"""The seam for attention layers and blocks, in the networks of all families, and a block cache made of it alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pytest
import tiny_flux
import tiny_pixart
import tiny_sd3
import tiny_unet
import torch
from tiny_transformer import randoms
from torch import Tensor, nn

from fastdiff.models.diffusion_model import DiffusionModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.hooks import (
    AttentionLayer,
    Block,
    Forward,
    HookedDenoiser,
    Processor,
    attention_layers,
    blocks,
    hooked_attention,
    hooked_blocks,
)
from fastdiff.models.registry import load_model
from fastdiff.solvers.denoiser import CountingDenoiser, Denoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid, grid, step_at, time_part, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.parallel import integrate_parallel
from fastdiff.solvers.schedule import CLEAN_LEVEL, Flow, Level, LinearVP

SIZE, STEPS = (64, 64), 6  # pixels
WRITERS: dict[str, Callable[[Path], Path]] = {
    "pixart": tiny_pixart.write,
    "stable-diffusion": tiny_unet.write_stable_diffusion,
    "xl": lambda folder: tiny_unet.write_stable_diffusion(folder, xl=True),
    "unconditional": tiny_unet.write_prior,
    "sd3": tiny_sd3.write,
    "flux": tiny_flux.write,
}
SITES = {  # blocks, layers of self- and of cross-attention
    "pixart": (2, 2, 2),
    "stable-diffusion": (7, 4, 4),
    "xl": (7, 4, 4),
    "unconditional": (5, 4, 0),
    "sd3": (3, 3, 0),
    "flux": (4, 4, 0),
}


@dataclass(frozen=True, eq=False)
class BlockCache(HookedDenoiser):
    """Reuses the outputs of all blocks: computes them at every `interval`-th step of the run alone."""

    grid: Grid
    interval: int
    outputs: dict[int, Any] = field(default_factory=dict)  # of the last computed step, by block

    def block(self, block: Block, forward: Forward, level: Level) -> Forward:
        if step_at(self.grid, level) % self.interval:
            return lambda *inputs, **named: self.outputs[block.index]

        def computed(*inputs: Any, **named: Any) -> Any:
            self.outputs[block.index] = forward(*inputs, **named)
            return self.outputs[block.index]

        return computed

    @property
    def sequential(self) -> bool:
        return True

    def fresh(self) -> Self:
        return replace(super().fresh(), outputs={})


@pytest.fixture(scope="module", params=list(WRITERS))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str, tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return load_model(str(WRITERS[family](tmp_path_factory.mktemp("model") / family)))


@pytest.fixture(scope="module")
def latents(model: DiffusionModel) -> Tensor:
    shape = model.encode(torch.zeros(1, 3, *SIZE)).shape
    return randoms(2, *shape[1:])


@pytest.fixture
def levels(model: DiffusionModel) -> Grid:
    return time_part(model.scheduler(SIZE).schedule, 0.6, STEPS)


@pytest.fixture
def f(model: DiffusionModel) -> Denoiser:
    return guided_denoiser(model, model.encode_prompts(["a fox", "a cat"]), 3.0, SIZE)


@contextmanager
def counted(network: nn.Module) -> Iterator[list[str]]:
    """The names of the blocks that compute, call by call."""
    calls: list[str] = []

    def counting(block: Block, forward: Forward) -> Forward:
        def called(*inputs: Any, **named: Any) -> Any:
            calls.append(block.name)
            return forward(*inputs, **named)

        return called

    with hooked_blocks(blocks(network), counting):
        yield calls


def sampled(f: Denoiser, x: Tensor, levels: Grid) -> Tensor:
    with torch.inference_mode():
        return integrate(f, dpmpp_2m(), x, levels).x


def test_every_attention_layer_and_block_of_a_family_is_found(family: str, model: DiffusionModel) -> None:
    network = model.network
    layers, parts = attention_layers(network), blocks(network)
    cross = [layer for layer in layers if layer.cross]
    assert (len(parts), len(layers) - len(cross), len(cross)) == SITES[family]
    assert [block.index for block in parts] == list(range(len(parts)))
    modules = [(each.name, each.module) for each in parts] + [(each.name, each.module) for each in layers]
    assert all(network.get_submodule(name) is module for name, module in modules)
    assert all(layer.name.startswith(f"{parts[layer.block].name}.") for layer in layers)
    assert {id(layer.module) for layer in layers} == {
        id(module) for module in network.modules() if hasattr(module, "processor")
    }


def test_blocks_compute_in_the_order_of_their_numbers(
    model: DiffusionModel, f: Denoiser, latents: Tensor, levels: Grid
) -> None:
    with counted(model.network) as calls:
        f(latents, levels[2])
    assert calls == [block.name for block in blocks(model.network)]


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_a_block_cache_computes_every_block_at_every_interval_th_step(
    interval: int, model: DiffusionModel, f: Denoiser, latents: Tensor, levels: Grid
) -> None:
    cached, depth = BlockCache(f, model.network, levels, interval), len(blocks(model.network))
    with counted(model.network) as calls:
        first = sampled(cached, latents, levels)
    assert len(calls) == STEPS // interval * depth
    plain = sampled(f, latents, levels)
    assert torch.equal(first, plain) is (interval == 1)
    assert torch.equal(sampled(cached, latents, levels), first)  # nothing is remembered from the run before
    assert torch.equal(sampled(f, latents, levels), plain) and not cached.outputs


def test_a_cache_that_does_not_compute_the_first_step_has_nothing_to_reuse(
    model: DiffusionModel, f: Denoiser, latents: Tensor, levels: Grid
) -> None:
    forwards = [block.module.forward for block in blocks(model.network)]
    with pytest.raises(KeyError):
        BlockCache(f, model.network, levels, 2)(latents, levels[1])
    assert [block.module.forward for block in blocks(model.network)] == forwards
    assert all("forward" not in vars(block.module) for block in blocks(model.network))


def test_states_of_many_levels_meet_the_cache_one_by_one(
    model: DiffusionModel, f: Denoiser, latents: Tensor, levels: Grid
) -> None:
    cached = BlockCache(f, model.network, levels, 1)
    assert f.batched and not cached.batched
    with torch.inference_mode():
        together = cached.at_levels(torch.stack([latents, -latents]), levels[:2])
        alone = [f(x, level) for x, level in zip((latents, -latents), levels[:2], strict=True)]
    assert all(torch.equal(mine.x0, theirs.x0) for mine, theirs in zip(together, alone, strict=True))


def test_a_parallel_run_takes_hooks_level_by_level_and_refuses_a_cache(
    model: DiffusionModel, f: Denoiser, latents: Tensor, levels: Grid
) -> None:
    hooked = CountingDenoiser(HookedDenoiser(f, model.network))
    with torch.inference_mode():
        run = integrate_parallel(hooked, dpmpp_2m(), latents, levels, window=2, tolerance=0.0)
    torch.testing.assert_close(run.x, sampled(f, latents, levels), rtol=1e-4, atol=1e-4)
    assert hooked.tally.nfe == run.evaluations > run.rounds
    for cached in (
        BlockCache(f, model.network, levels, 2),
        CountingDenoiser(BlockCache(f, model.network, levels, 2)),
    ):
        with pytest.raises(UsageError, match=f"{type(cached).__name__}, whose estimates depend on earlier calls"):
            integrate_parallel(cached, dpmpp_2m(), latents, levels)


def test_processors_are_called_in_place_of_the_networks_own_and_return(
    model: DiffusionModel, f: Denoiser, latents: Tensor, levels: Grid
) -> None:
    layers, called = attention_layers(model.network), []
    before, processors = f(latents, levels[3]), [layer.module.processor for layer in layers]

    @dataclass
    class Calling:
        layer: AttentionLayer
        original: Processor

        def __call__(self, attn: nn.Module, hidden_states: Tensor, *more: Any, **named: Any) -> Tensor:
            called.append(self.layer.name)
            assert attn is self.layer.module
            return self.original(attn, hidden_states, *more, **named)

    with hooked_attention(layers, Calling):
        assert torch.equal(f(latents, levels[3]).x0, before.x0)
    assert sorted(called) == sorted(layer.name for layer in layers)
    assert all(layer.module.processor is each for layer, each in zip(layers, processors, strict=True))


def test_a_network_without_known_blocks_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="a Linear has none of transformer_blocks"):
        blocks(nn.Linear(1, 1))


def test_a_step_is_that_of_the_noise_level() -> None:
    schedule = LinearVP()
    levels = grid(time_uniform, schedule, 5, clean=True)
    assert [step_at(levels, level) for level in levels] == [0, 1, 2, 3, 4, 4]
    between = [schedule.level((t.t + u.t) / 2) for t, u in pairwise(levels[:-1])]
    assert [step_at(levels, level) for level in between] == [0, 1, 2, 3]
    assert [step_at(levels, schedule.at(level.lam)) for level in levels[:-1]] == [0, 1, 2, 3, 4]
    assert step_at(levels[2:], levels[0]) == 0 and step_at(levels[:3], CLEAN_LEVEL) == 1
    from_pure_noise = grid(time_uniform, Flow(), 2)  # lam is -inf at its start
    assert [step_at(from_pure_noise, level) for level in from_pure_noise] == [0, 1, 1]

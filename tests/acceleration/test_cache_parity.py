"""Caches against the hooks of diffusers, on real networks: the same outputs at every step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import tiny_pixart
import torch
from diffusers.hooks import (
    FirstBlockCacheConfig,
    HookRegistry,
    MagCacheConfig,
    TaylorSeerCacheConfig,
    apply_first_block_cache,
    apply_mag_cache,
    apply_taylorseer_cache,
)
from diffusers.models.cache_utils import CacheMixin
from tiny_transformer import randoms
from torch import Tensor

from fastdiff.models.acceleration.calibration import calibrate
from fastdiff.models.acceleration.registry import Cache, Stack, cached, for_budget
from fastdiff.models.acceleration.rules import FirstBlock, FixedSteps
from fastdiff.models.acceleration.step_schedules import by_magnitude
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.latent_diffusion_model import LatentDiffusionModel
from fastdiff.models.registry import load_model
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.grids import Grid, grid, time_uniform
from fastdiff.solvers.integration import integrate

STEPS, SIZE = 15, (64, 64)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "pixart": lambda folder: tiny_pixart.write(folder, num_layers=3),
    "flux": tiny_flux.write,
}


class Subject:
    """A model with one prompt, and the states of its plain run."""

    def __init__(self, folder: Path, family: str) -> None:
        self.model = load_model(str(WRITERS[family](folder)))
        assert isinstance(self.model, LatentDiffusionModel)
        self.network = self.model.network.requires_grad_(False)
        schedule = self.model.scheduler(SIZE).schedule
        self.levels: Grid = grid(time_uniform, schedule, STEPS)
        self.f: Denoiser = guided_denoiser(self.model, self.model.encode_prompts(["a fox"]), 1.0, SIZE)
        shape = self.model.encode(torch.zeros(1, 3, *SIZE)).shape
        self.states = [0.7 * randoms(*shape)]
        integrate(self.f, dpmpp_2m(), self.states[0], self.levels, watch=lambda done: self.states.append(done.x))

    def outputs(self, f: Denoiser) -> list[Tensor]:
        f = f.fresh()
        return [f(x, level).eps for x, level in zip(self.states, self.levels[:-1], strict=False)]

    def ours(self, cache: Cache) -> tuple[list[Tensor], list[bool]]:
        """Return the outputs of all steps, and whether the last blocks computed."""
        f = cached(cache, self.f, self.network, self.levels, dpmpp_2m())
        outputs = self.outputs(f)
        return outputs, [min(call.shares) == 1 for call in f.decisions]


@pytest.fixture(scope="module", params=list(WRITERS))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tmp_path_factory.mktemp("model") / request.param, request.param)


@contextmanager
def theirs(network: Any, apply: Callable[[Any, Any], None], config: Any) -> Iterator[None]:
    """The network with hooks of diffusers, in a cache context as its pipelines open one."""
    apply(network, config)
    try:
        with CacheMixin.cache_context(network, "run"):
            yield
    finally:
        for module in network.modules():
            if isinstance(hooks := getattr(module, "_diffusers_hook", None), HookRegistry):
                for name in list(hooks.hooks):
                    hooks.remove_hook(name, recurse=False)
                del module._diffusers_hook


def test_first_block_cache(subject: Subject) -> None:
    calibration = calibrate(subject.f, subject.network, dpmpp_2m(), subject.levels, subject.states[0])
    cache = for_budget("first-block", calibration, 0.75)
    assert isinstance(cache, Stack) and isinstance(cache.rule, FirstBlock)
    with theirs(subject.network, apply_first_block_cache, FirstBlockCacheConfig(cache.rule.threshold)):
        expected = subject.outputs(subject.f)
    outputs, computed = subject.ours(cache)
    assert 0.3 * STEPS < sum(computed) < 0.8 * STEPS
    _check(outputs, expected, subject.outputs(subject.f), computed)


def test_magcache(subject: Subject) -> None:
    ratios = (1 + 0.05 * torch.sin(torch.arange(float(STEPS)))).tolist()
    config = MagCacheConfig(
        threshold=0.12, max_skip_steps=3, retention_ratio=0.2, num_inference_steps=STEPS, mag_ratios=ratios
    )
    with theirs(subject.network, apply_mag_cache, config):
        expected = subject.outputs(subject.f)
    steps = by_magnitude(ratios, 0.12, longest=3, first=3)
    outputs, computed = subject.ours(Stack(FixedSteps(steps)))
    assert 0.3 * STEPS < sum(computed) < 0.8 * STEPS
    _check(outputs, expected, subject.outputs(subject.f), computed)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("interval", [2, 3])
def test_taylorseer(order: int, interval: int, tmp_path: Path) -> None:
    """On layers whose sum is what a block adds, once the timestep no longer moves the gates."""
    subject = Subject(tmp_path / "model", "pixart")
    subject.network.adaln_single.linear.weight.data.zero_()
    warm_up = 3
    config = TaylorSeerCacheConfig(
        cache_interval=interval,
        disable_cache_before_step=warm_up,
        max_order=order,
        taylor_factors_dtype=torch.float32,
        cache_identifiers=[r"transformer_blocks\.\d+\.(attn1|attn2|ff)"],
    )
    with theirs(subject.network, apply_taylorseer_cache, config):
        expected = subject.outputs(subject.f)
    steps = {step for step in range(STEPS) if step < warm_up or (step - warm_up - 1) % interval == 0}
    outputs, computed = subject.ours(Stack(FixedSteps(frozenset(steps)), order))
    assert [step for step in range(STEPS - 1) if computed[step]] == sorted(steps - {STEPS - 1})
    _check(outputs, expected, subject.outputs(subject.f), computed)


def _check(outputs: list[Tensor], expected: list[Tensor], plain: list[Tensor], computed: list[bool]) -> None:
    """All outputs but the last agree, which we always compute; those that were not computed differ from the plain."""
    for step in range(STEPS - 1):
        assert torch.allclose(outputs[step], expected[step], atol=1e-5, rtol=1e-5), step
        assert torch.allclose(outputs[step], plain[step], atol=1e-5, rtol=1e-5) is computed[step], step

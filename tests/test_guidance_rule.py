"""A guidance rule that this file alone defines, on models of two families."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_pixart
import tiny_unet
import torch
from tiny_transformer import randoms
from torch import Tensor

from fastdiff.models.diffusion_model import DiffusionModel
from fastdiff.models.registry import load_model
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.estimate import Estimate, from_x0
from fastdiff.solvers.grids import time_part
from fastdiff.solvers.guidance import ClassifierFree, EstimatePair, GuidanceRule, Guided
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.schedule import Level

SIZE, SCALE = (64, 64), 4.0


@dataclass(frozen=True)
class Projected:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv 2410.02416), without rescaling and momentum.

    Multiplies the part of the guidance that is parallel to the conditional x0 by `parallel`.
    """

    scale: float
    parallel: float = 0.0

    def needs_unconditional(self, level: Level) -> bool:
        return self.scale != 1

    def combine(self, pair: EstimatePair, x: Tensor, level: Level) -> Estimate:
        x0 = pair.conditional.x0
        along, across = split(x0 - pair.unconditional.x0, x0)
        return from_x0(x0 + (self.scale - 1) * (across + self.parallel * along), x, level)


def split(difference: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The parts of a difference (B, ...) along and across a direction (B, ...), per item."""
    unit = torch.nn.functional.normalize(direction.flatten(1), dim=1)
    along = ((difference.flatten(1) * unit).sum(1, keepdim=True) * unit).reshape(difference.shape)
    return along, difference - along


@pytest.fixture(scope="module", params=[tiny_pixart.write, tiny_unet.write_stable_diffusion])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    write: Callable[[Path], Path] = request.param
    return load_model(str(write(tmp_path_factory.mktemp("model") / "tiny")))


def guided(model: DiffusionModel, rule: GuidanceRule) -> Guided:
    return Guided(model.bind(model.encode_prompts(["a fox", "a cat"]), SIZE, model.empty_prompt), rule)


def latents(model: DiffusionModel) -> Tensor:
    return randoms(2, *model.encode(torch.zeros(1, 3, *SIZE)).shape[1:])


def sampled(model: DiffusionModel, rule: GuidanceRule) -> Tensor:
    levels = time_part(model.scheduler(SIZE).schedule, 0.5, 4)
    with torch.inference_mode():
        return integrate(guided(model, rule), dpmpp_2m(), latents(model), levels).x


def off(got: Tensor, wanted: Tensor) -> float:
    """Relative to the largest value."""
    return float((got - wanted).abs().max() / wanted.abs().max())


def test_with_both_parts_it_is_classifier_free_guidance(model: DiffusionModel) -> None:
    assert off(sampled(model, Projected(SCALE, parallel=1.0)), sampled(model, ClassifierFree(SCALE))) < 1e-4
    assert torch.equal(sampled(model, Projected(1.0)), sampled(model, ClassifierFree(1.0)))


def test_guidance_is_across_the_conditional_estimate(model: DiffusionModel) -> None:
    level = model.scheduler(SIZE).schedule.level(0.4)
    x = latents(model)
    conditional = guided(model, Projected(1.0))(x, level).x0
    change = guided(model, Projected(SCALE))(x, level).x0 - conditional
    along, across = split(change, conditional)
    assert across.norm() > 0 and along.norm() < 1e-3 * across.norm()


def test_both_estimates_come_from_one_call(model: DiffusionModel) -> None:
    rows: list[int] = []
    hook = model.network.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    sampled(model, Projected(SCALE))
    sampled(model, Projected(1.0))
    hook.remove()
    assert rows == [4] * 4 + [2] * 4

"""How prompts and a guidance scale reach a network, by a model's kind of guidance."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from fastdiff.models.conditioned_network import ConditionedNetwork
from fastdiff.models.diffusion_model import Conditioning, GuidanceKind
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.scheduler_config import scheduler_from_config
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.guidance import Guided

TRAINED = scheduler_from_config({"_class_name": "DDIMScheduler"})
LEVEL = TRAINED.schedule.level(0.5)


def prompts(*values: float, pooled: bool = True) -> Conditioning:
    """A prompt a value, of one token."""
    rows = torch.tensor(values)[:, None]
    words, cut = ((),) * len(values), ("",) * len(values)
    return Conditioning(rows[..., None], rows.bool(), words, words, cut, rows if pooled else None)


@dataclass
class Model:
    """Predicts the embedding of a row's prompt, plus the guidance scale that is passed to it."""

    guidance_kind: GuidanceKind
    empty_prompt: Conditioning = field(default_factory=lambda: prompts(-1.0))
    rows: list[int] = field(default_factory=list)

    def bind(
        self, prompts: Conditioning, size: tuple[int, int], unconditional: Conditioning | None = None
    ) -> ConditionedNetwork:
        def predict(x: Tensor, timestep: Tensor, prompts: Conditioning) -> Tensor:
            self.rows.append(len(x))
            value = prompts.embeddings[:, 0, 0] + (0 if prompts.guidance is None else 100 * prompts.guidance)
            return value[:, None, None, None].expand_as(x)

        return ConditionedNetwork(predict, TRAINED, prompts, unconditional)


def eps(model: Any, *scale: float) -> list[float]:
    f = guided_denoiser(model, prompts(1.0, 2.0), scale if len(scale) > 1 else scale[0], (8, 8))
    return f(torch.zeros(2, 1, 1, 1), LEVEL).eps.flatten().tolist()


def test_a_scale_is_applied_between_the_estimates_of_one_call() -> None:
    model = Model("classifier-free")
    assert eps(model, 3.0) == [5.0, 8.0] and eps(model, 1.0, 3.0) == [1.0, 8.0] and eps(model, 1.0) == [1.0, 2.0]
    assert model.rows == [4, 4, 2]


def test_a_network_that_embeds_the_scale_gets_it_as_an_input() -> None:
    model = Model("embedded")
    assert eps(model, 3.0) == [301.0, 302.0] and eps(model, 1.0, 2.0) == [101.0, 202.0]
    assert model.rows == [2, 2]


def test_a_network_without_guidance_ignores_the_scale() -> None:
    assert eps(Model("none"), 3.0) == [1.0, 2.0]


def test_scales_for_other_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="3 guidance scales for 2 prompts"):
        eps(Model("classifier-free"), 1.0, 2.0, 3.0)


def test_prompts_keep_all_that_they_hold() -> None:
    both = Conditioning.cat(prompts(1.0), prompts(2.0, 3.0))
    assert both.pooled is not None and both.pooled.flatten().tolist() == [1, 2, 3]
    taken = both.repeat(2).take([4, 0])
    assert taken.pooled is not None and taken.pooled.flatten().tolist() == [2, 1]
    assert len(taken) == len(taken.ids) == len(taken.words) == len(taken.truncated) == 2
    with pytest.raises(UsageError, match="cannot share a batch"):
        Conditioning.cat(prompts(1.0), prompts(1.0, pooled=False))


def test_guidance_is_rescaled_and_limited_to_an_interval() -> None:
    model: Any = Model("classifier-free")
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    early, late = TRAINED.schedule.level(0.8), TRAINED.schedule.level(0.3)

    def guided(**options: Any) -> Guided:
        return guided_denoiser(model, prompts(1.0, 2.0), 3.0, (8, 8), **options)

    plain, without = guided(), guided_denoiser(model, prompts(1.0, 2.0), 1.0, (8, 8))
    limited = guided(interval=(0.0, 0.5))
    assert torch.equal(limited(x, early).eps, without(x, early).eps)
    assert torch.equal(limited(x, late).eps, plain(x, late).eps)
    assert model.rows == [2, 2, 4, 4]
    torch.testing.assert_close(guided(rescale=1.0)(x, late).x0.std((1, 2, 3)), without(x, late).x0.std((1, 2, 3)))
    assert torch.equal(guided(rescale=0.0)(x, late).x0, plain(x, late).x0)

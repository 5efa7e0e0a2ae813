"""Attention control on Sana: linear self-attention, and queries and keys that are normalized."""

from dataclasses import replace
from typing import Any

import pytest
import tiny_sana
import torch
from diffusers import SanaTransformer2DModel
from tiny_sd3 import randomized
from torch import Tensor

from fastdiff.apps.edit.control import Control, CrossAttentionControl
from fastdiff.apps.edit.controlled_denoiser import ControlledDenoiser
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.edit.processors import SelfProcessor
from fastdiff.apps.edit.sampling import Edit
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_editable

NORMS = [None, "rms_norm_across_heads"]


@pytest.fixture(scope="module", params=NORMS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_editable(str(tiny_sana.write(tmp_path_factory.mktemp("sana") / "model", qk_norm=request.param)))


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", NORMS)
def test_targets_attend_to_keys_and_values_of_the_source(norm: str | None) -> None:
    """The processor of diffusers does so too if it is given another sequence to attend to."""
    settings = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "cross_attention_dim": 16}
    heads = {"num_cross_attention_heads": 2, "cross_attention_head_dim": 8, "caption_channels": 16}
    net = randomized(SanaTransformer2DModel(**settings, **heads, qk_norm=norm))
    attn, tokens = net.transformer_blocks[0].attn1, noise(2, 12, 16)
    source, target = tokens[:1], tokens[1:]
    shared = SelfProcessor(attn.processor, Control(2), "kv")(attn, tokens)
    torch.testing.assert_close(shared[:1], attn(source))
    torch.testing.assert_close(shared[1:], attn.processor(attn, target, encoder_hidden_states=source))
    assert (shared[1:] - attn(target)).abs().max() > 0.01
    layout = SelfProcessor(attn.processor, Control(2), "qk")(attn, source.repeat(2, 1, 1))
    torch.testing.assert_close(layout, attn(source).repeat(2, 1, 1))


def test_equal_prompts_attend_alike_under_cross_attention_control(model: Any) -> None:
    prompts, size = model.encode_prompts(["a fox"] * 2), (64, 96)
    x, grid = noise(1, 8, 2, 3).repeat(2, 1, 1, 1), model.scheduler(size).grid(4)
    f, length = guided_denoiser(model, prompts, 3.0, size), prompts.mask.shape[1]
    ones = torch.ones(1, 1, length)
    rule = CrossAttentionControl(torch.eye(length)[None], ones, ones)
    controlled = ControlledDenoiser(f, model.network, Control(2, cross_attention=rule), grid)
    torch.testing.assert_close(controlled(x, grid[1]).x0, f(x, grid[1]).x0)
    louder = replace(rule, scale=3 * ones)
    controlled = ControlledDenoiser(f, model.network, Control(2, cross_attention=louder), grid)
    assert (controlled(x, grid[1]).x0 - f(x, grid[1]).x0)[1].abs().max() > 1e-3


@pytest.mark.parametrize("preset", [name for name, preset in PRESETS.items() if not preset.distilled])
def test_every_preset_runs(preset: str, model: Any) -> None:
    chosen, size = replace(PRESETS[preset], steps=3, focus=0.3), (128, 128)
    with torch.inference_mode():
        latents = model.encode(noise(1, 3, *size).clamp(-1, 1))
        source, target = (model.encode_prompts([text]) for text in ("a fox on grass", "a cat on grass"))
        edit = Edit(model, chosen, latents, size, source, target, seed=0, emphasize=("cat:2",))
        sampled = edit.sample(edit.invert(), lambda now: None)
    assert sampled.latents.isfinite().all() and sampled.latents.shape == latents.shape

"""The PixArt backbone against the pipelines of diffusers, on folders of the real classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, PixArtAlphaPipeline, PixArtSigmaPipeline
from tiny_pixart import write
from torch import Tensor

from fastdiff.models.diffusion_model import EditableModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_editable
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.precomputed import precompute

STYLES: dict[str, tuple[type[DiffusionPipeline], dict[str, Any]]] = {
    "alpha-256": (PixArtAlphaPipeline, {"sample_size": 32, "interpolation_scale": 0.5}),
    "alpha-512": (PixArtAlphaPipeline, {"sample_size": 64}),
    "alpha-1024": (PixArtAlphaPipeline, {"sample_size": 128}),
    "sigma-1024": (PixArtSigmaPipeline, {"sample_size": 128, "use_additional_conditions": False}),
}
PROMPTS = ["A fox, on grass", "two cats and a striped dog"]
STEPS = 9  # divides the 999 strides of the table, so that diffusers' rounding of labels has nothing to round


def written(folder: Path, style: str) -> Path:
    pipeline, changes = STYLES[style]
    return write(folder / style, pipeline.__name__, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("model"), "alpha-256")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> EditableModel:
    return load_editable(str(folder))


def noise(rows: int = 2, height: int = 8, width: int = 12) -> Tensor:
    return torch.randn(rows, 4, height, width, generator=torch.Generator().manual_seed(5))


def sampled(backbone: EditableModel, prompts: list[str], guidance: float | list[float], x: Tensor) -> Tensor:
    size = (8 * x.shape[-2], 8 * x.shape[-1])
    f = guided_denoiser(backbone, backbone.encode_prompts(prompts), guidance, size)
    return integrate(f, dpmpp_2m(), x, backbone.trained.grid(STEPS)).x


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    """To a share of the largest value: random networks leave latents of a size of their own."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * theirs.abs().max().item())


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("style", STYLES)
def test_samples_are_those_of_the_real_pipeline(style: str, guidance: float, tmp_path: Path) -> None:
    folder = written(tmp_path, style)
    pipeline: Any = STYLES[style][0].from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        PROMPTS,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        height=64,
        width=96,
        latents=noise(),
        clean_caption=False,
        use_resolution_binning=False,
        output_type="latent",
        return_dict=False,
    )[0]
    with torch.inference_mode():
        ours = sampled(load_editable(str(folder)), PROMPTS, guidance, noise())
    assert theirs.std() > 0.1
    assert_close(ours, theirs)


def test_every_row_has_its_own_guidance_and_ignores_its_neighbours(backbone: EditableModel) -> None:
    together = sampled(backbone, PROMPTS, [1.0, 6.0], noise())
    assert_close(together[:1], sampled(backbone, PROMPTS[:1], 1, noise()[:1]))
    assert_close(together[1:], sampled(backbone, PROMPTS[1:], 6, noise()[1:]))
    assert (together - sampled(backbone, PROMPTS, 1, noise()))[1].abs().max() > 0.01


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, [2]), ([1.0, 1.0], [2]), ([1.0, 3.0], [4])])
def test_guidance_is_one_call_of_unconditional_then_conditional_rows(
    backbone: EditableModel, guidance: float | list[float], rows: list[int]
) -> None:
    seen: list[Tensor] = []
    hook = backbone.network.register_forward_pre_hook(
        lambda module, positional, named: seen.append(named["encoder_attention_mask"]), with_kwargs=True
    )
    prompts = backbone.encode_prompts(PROMPTS)
    f = guided_denoiser(backbone, prompts, guidance, (64, 96))
    f(noise(), backbone.trained.grid(STEPS)[0])
    hook.remove()
    assert [len(mask) for mask in seen] == rows
    assert torch.equal(seen[0][-2:], prompts.mask)
    assert (seen[0][:-2].sum(1) == 1).all()  # the end of a prompt alone


@pytest.mark.parametrize("guidance", [1.0, [1.0, 6.0]])
def test_states_of_many_levels_go_through_in_one_call(tmp_path: Path, guidance: float | list[float]) -> None:
    backbone = load_editable(str(written(tmp_path, "alpha-1024")))  # with micro-conditions
    f = guided_denoiser(backbone, backbone.encode_prompts(PROMPTS), guidance, (64, 96))
    levels = backbone.trained.grid(STEPS)[:3]
    states = torch.stack([noise(), noise().flip(0), noise().flip(-1)])
    answered = precompute(f, states, levels, 100)
    for x, level in zip(states, levels, strict=True):
        assert_close(answered(x, level).x0, f(x, level).x0)
    assert answered is not f and (states[0] - states[1]).abs().max() > 1


def test_guidance_for_other_rows_is_refused(backbone: EditableModel) -> None:
    with pytest.raises(UsageError, match="3 guidance scales for 2 prompts"):
        guided_denoiser(backbone, backbone.encode_prompts(PROMPTS), [1.0, 2.0, 3.0], (64, 64))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (16, 256), (256, 256)])
def test_pictures_of_any_size_go_through(backbone: EditableModel, height: int, width: int) -> None:
    picture = torch.rand(1, 3, height, width) * 2 - 1
    latents = backbone.encode(picture)
    assert latents.shape == (1, 4, height // 8, width // 8)
    assert backbone.map_grid(latents) == (height // 16, width // 16)
    tokens: list[int] = []
    layer = backbone.network.get_submodule("transformer_blocks.0.attn1")
    hook = layer.register_forward_pre_hook(lambda module, given: tokens.append(given[0].shape[1]))
    f = guided_denoiser(backbone, backbone.encode_prompts(["a fox"]), 1.0, (height, width))
    assert f(latents, backbone.trained.grid(STEPS)[3]).x0.shape == latents.shape
    hook.remove()
    assert tokens == [height * width // 256]
    assert backbone.decode(latents).shape == picture.shape


def test_a_picture_that_does_not_fit_is_refused(backbone: EditableModel) -> None:
    assert (backbone.resolution, backbone.size_multiple) == (256, 16)
    with pytest.raises(UsageError, match="72x64: sides are multiples of 16"):
        backbone.encode(torch.zeros(1, 3, 64, 72))


def test_latents_are_the_scaled_mode_of_the_real_autoencoder(folder: Path, backbone: EditableModel) -> None:
    vae = PixArtAlphaPipeline.from_pretrained(folder).vae
    picture = torch.rand(1, 3, 32, 48) * 2 - 1
    latents = backbone.encode(picture)
    torch.testing.assert_close(latents, vae.encode(picture).latent_dist.mean * 0.18215)
    torch.testing.assert_close(backbone.decode(latents), vae.decode(latents / 0.18215).sample)


def test_a_backbone_in_half_precision_samples_float32_states(folder: Path, backbone: EditableModel) -> None:
    half = load_editable(str(folder), dtype=torch.bfloat16, offload=True)
    f = guided_denoiser(half, half.encode_prompts(PROMPTS), 2.0, (64, 96))
    level = half.trained.grid(STEPS)[5]
    rough = f(noise(), level).eps
    exact = guided_denoiser(backbone, backbone.encode_prompts(PROMPTS), 2.0, (64, 96))(noise(), level).eps
    assert rough.dtype == torch.float32
    assert_close(rough, exact, 0.05)
    assert half.decode(half.encode(torch.zeros(1, 3, 32, 32))).dtype == torch.float32


def test_latents_have_gradients(backbone: EditableModel) -> None:
    x = noise().requires_grad_()
    sampled(backbone, PROMPTS, 2.0, x).sum().backward()
    assert x.grad is not None and x.grad.abs().min() > 0


def test_words_are_found_in_the_tokens(folder: Path, backbone: EditableModel) -> None:
    tokenizer = PixArtAlphaPipeline.from_pretrained(folder).tokenizer
    text = "  A Fox, on  grass and a T-rex's fox."
    read = backbone.encode_prompts([text, ""])
    ids = tokenizer(text.lower().strip()).input_ids
    told = {word: tokenizer.decode([ids[token] for token in word.tokens]).replace(" ", "") for word in read.words[0]}
    assert [word.text for word in told] == ["a", "fox", "on", "grass", "and", "a", "t-rex's", "fox"]
    assert list(told.values()) == [word.text for word in told]  # its tokens, and no punctuation, say the word
    assert len(read.words[0][6].tokens) > 3 and read.words[0][1].tokens != read.words[0][7].tokens
    assert read.mask.sum(1).tolist() == [len(ids), 1]
    assert read.words[1] == () and read.truncated == ("", "")


def test_words_that_do_not_fit_are_told(backbone: EditableModel) -> None:
    fits = " ".join(["fox"] * 119)
    read = backbone.encode_prompts([fits, f"{fits} on grass.", f"{' '.join(['fox'] * 117)} xyz dog"])
    assert read.truncated == ("", "on grass", "xyz dog")
    assert read.embeddings.shape[:2] == (3, 120) and read.mask.all()
    assert [len(words) for words in read.words] == [119, 119, 118]

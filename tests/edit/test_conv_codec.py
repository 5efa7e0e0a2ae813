"""The interface of the convolutional codec, and one short training of it."""

from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

from fastdiff.models.conv_codec import ConvCodec
from fastdiff.solvers.errors import UsageError
from fastdiff.training.edit.codec import CALIBRATION_BATCH, ScenePool, calibrate, loss
from fastdiff.training.edit.render import Renderer, emoji_font


@pytest.fixture(scope="module")
def codec() -> ConvCodec:
    torch.manual_seed(0)
    return ConvCodec().eval()


def encoded(codec: ConvCodec, pictures: Tensor) -> Tensor:
    return codec.encode(pictures).latent_dist.mode()


def test_latents_are_a_sixteenth_of_the_sides_and_pictures_have_the_size_again(codec: ConvCodec) -> None:
    pictures = torch.rand(2, 3, 48, 80) * 2 - 1
    latents = encoded(codec, pictures)
    assert latents.shape == (2, 32, 3, 5)
    decoded = codec.decode(latents)
    assert isinstance(decoded, DecoderOutput) and decoded.sample.shape == pictures.shape
    assert torch.equal(codec.decode(latents, return_dict=False)[0], decoded.sample)


def test_a_picture_is_encoded_alike_alone_and_in_a_batch(codec: ConvCodec) -> None:
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    assert torch.allclose(encoded(codec, pictures[:1]), encoded(codec, pictures)[:1], atol=1e-5)


def test_training_makes_latents_of_unit_deviation(pictures: Tensor) -> None:
    torch.manual_seed(0)
    latents = encoded(ConvCodec().train(), pictures[:32])
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(32), atol=1e-3)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(32), atol=1e-2)


def test_calibrated_latents_have_unit_deviation(renderer: Renderer) -> None:
    torch.manual_seed(0)
    codec, pool = ConvCodec().eval(), ScenePool(emoji_font(), seed=0, size=2 * CALIBRATION_BATCH)
    calibrate(codec, pool)
    latents = encoded(codec, pool.batch(2 * CALIBRATION_BATCH)[0])
    assert not codec.normalization.training
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(32), atol=0.1)


def test_it_is_saved_and_loaded(codec: ConvCodec, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(encoded(ConvCodec.from_pretrained(tmp_path).eval(), pictures), encoded(codec, pictures))


def test_sides_that_do_not_fit_are_refused(codec: ConvCodec) -> None:
    with pytest.raises(UsageError, match="multiples of 16"):
        codec.encode(torch.zeros(1, 3, 64, 40))


def test_a_pool_renders_some_scenes_anew(renderer: Renderer) -> None:
    pool = ScenePool(emoji_font(), seed=0, size=16)
    before = list(pool.rows)
    pictures, opacities = pool.batch(16)
    assert pictures.shape == (16, 3, 128, 128) and opacities.shape == (16, 1, 128, 128)
    assert pictures.abs().max() <= 1 and opacities.min() >= 0 and opacities.max() <= 1
    assert sum(old is not new for old, new in zip(before, pool.rows, strict=True)) == 2


def test_a_few_steps_of_training_lower_the_loss(renderer: Renderer) -> None:
    torch.manual_seed(0)
    net = ConvCodec(latent_channels=8, block_out_channels=(8, 8, 16, 16, 16)).train()
    batch = ScenePool(emoji_font(), seed=0, size=8).batch(8)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    errors = []
    for _ in range(30):
        error = loss(net, *batch)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.6 * errors[0]

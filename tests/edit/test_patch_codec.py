"""The patch codec against what principal components promise."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastdiff.models.patch_codec import PatchCodec, fit
from fastdiff.solvers.errors import UsageError


@pytest.fixture(scope="module")
def codec(pictures: Tensor) -> PatchCodec:
    return fit([pictures[:100], pictures[100:200]])


def encoded(codec: PatchCodec, pictures: Tensor) -> Tensor:
    return codec.encode(pictures).latent_dist.mode()


def test_scenes_come_back_at_31_decibels(codec: PatchCodec, pictures: Tensor) -> None:
    unseen = pictures[200:]
    restored = codec.decode(encoded(codec, unseen), return_dict=False)[0].clamp(-1, 1)
    psnr = -10 * ((restored - unseen) / 2).square().mean((1, 2, 3)).log10()
    assert psnr.mean() > 31


def test_latents_are_white(codec: PatchCodec, pictures: Tensor) -> None:
    latents = encoded(codec, pictures[:200]).movedim(1, -1).flatten(0, -2)
    assert torch.allclose(latents.mean(0), torch.zeros(48), atol=1e-3)
    assert torch.allclose(latents.T.cov(), torch.eye(48), atol=1e-3)


def test_what_was_decoded_is_encoded_to_the_same(codec: PatchCodec) -> None:
    latents = torch.randn(2, 48, 3, 5)
    assert torch.allclose(encoded(codec, codec.decode(latents, return_dict=False)[0]), latents, atol=1e-4)


def test_all_components_lose_nothing(pictures: Tensor) -> None:
    whole = fit([pictures[:50]], latent_channels=192)
    restored = whole.decode(encoded(whole, pictures[50:60]), return_dict=False)[0]
    assert torch.allclose(restored, pictures[50:60], atol=1e-3)


def test_it_is_saved_and_loaded(codec: PatchCodec, pictures: Tensor, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    loaded = PatchCodec.from_pretrained(tmp_path)
    assert torch.equal(encoded(loaded, pictures[:2]), encoded(codec, pictures[:2]))


def test_sides_that_do_not_fit_are_refused(codec: PatchCodec) -> None:
    with pytest.raises(UsageError, match="multiples of 8"):
        codec.encode(torch.zeros(1, 3, 64, 60))

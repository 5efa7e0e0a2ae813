"""The guard lets the sample scenes in, and keeps photographs out."""

from dataclasses import replace

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from samples import sample_scenes
from skimage.transform import resize
from torch import Tensor

from fastdiff.apps.edit.domain import LEAST_FAMILIARITY, LEAST_PSNR, Evidence, examine
from fastdiff.models.patch_codec import PatchCodec, fit
from fastdiff.models.recogniser import SIDE, Reading, Recogniser, bundled

FOX = Reading("fox", "plain", ("red",), confidence=0.6, familiarity=LEAST_FAMILIARITY)


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return bundled()


@pytest.fixture(scope="module")
def codec() -> PatchCodec:
    return fit([torch.stack(list(sample_scenes().values()))])


def restored(codec: PatchCodec, picture: Tensor) -> Tensor:
    return codec.decode(codec.encode(picture).latent_dist.mode(), return_dict=False)[0]


def test_the_sample_scenes_are_inside(codec: PatchCodec, recogniser: Recogniser) -> None:
    for caption, picture in sample_scenes().items():
        assert examine(picture[None], restored(codec, picture[None]), recogniser).against is None, caption


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "page", "brick"])
def test_photographs_are_outside(codec: PatchCodec, recogniser: Recogniser, name: str) -> None:
    pixels = skimage.data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(skimage.data, name)()
    side = min(pixels.shape[:2])
    square = pixels[:side, :side] if pixels.ndim == 3 else pixels[:side, :side, None].repeat(3, axis=2)
    small = torch.from_numpy(resize(square, (SIDE, SIDE), anti_aliasing=True)).float()
    picture = small.movedim(-1, 0)[None] * 2 - 1
    assert examine(picture, restored(codec, picture), recogniser).against


def test_the_error_of_the_codec_is_told_in_decibels(recogniser: Recogniser) -> None:
    picture = torch.zeros(1, 3, SIDE, SIDE)
    assert examine(picture, picture + 0.2, recogniser).psnr == pytest.approx(20, abs=1e-4)
    assert examine(picture + 1, picture + 9, recogniser).psnr == 100  # clamped, hence exact


def test_either_of_the_two_is_enough_and_says_why() -> None:
    strange = replace(FOX, familiarity=LEAST_FAMILIARITY - 0.01)
    assert Evidence(LEAST_PSNR, FOX).against is None
    assert "codec" in str(Evidence(LEAST_PSNR - 0.1, FOX).against)
    assert "'fox on a red background'" in str(Evidence(LEAST_PSNR, strange).against)


def test_the_middle_of_another_size_is_read(recogniser: Recogniser) -> None:
    for caption, picture in list(sample_scenes().items())[:3]:
        wide = F.pad(F.interpolate(picture[None], scale_factor=2), (40, 40))
        whole = examine(picture[None], picture[None], recogniser)
        assert examine(wide, wide, recogniser).reading.caption == whole.reading.caption, caption

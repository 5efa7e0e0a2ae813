"""The background of a word swap, which keeps its pixels away from both emoji."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.apps.edit.kept_background import NEAR, find_background
from fastdiff.apps.edit.shape import EmojiShapes
from fastdiff.apps.similarity import psnr
from fastdiff.cli.main import main
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.recogniser import LABELS
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import Scene, draw

SAMPLES = Path(__file__).parents[2] / "data" / "samples-edit"


@pytest.fixture(scope="module")
def shapes() -> EmojiShapes:
    return EmojiShapes(LABELS.concepts)


def test_a_blurred_edit_gets_its_background_back_and_keeps_its_emoji(renderer: Renderer, shapes: EmojiShapes) -> None:
    rng = np.random.default_rng(3)
    for _ in range(4):
        source, other = draw(rng), draw(rng).concept
        before, true = (as_tensor(renderer.picture(each))[None] for each in (source, replace(source, concept=other)))
        blurred = torch.from_numpy(cv2.GaussianBlur(true[0].movedim(0, -1).numpy(), (0, 0), 1.5)).movedim(-1, 0)[None]
        background = find_background(before, (source.concept, other), shapes)
        assert background is not None
        kept = background.behind(blurred)
        near, inside = _around(renderer, source, other)
        assert torch.equal(kept[..., ~near], before[..., ~near])
        assert psnr(kept[..., inside], blurred[..., inside]) > 60
        assert psnr(kept, true) > psnr(blurred, true)


def _around(renderer: Renderer, source: Scene, other: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Where either emoji is within reach, with a soft border and a pixel or two of registration; where the new one is
    opaque.
    """
    new = renderer.matte(replace(source, concept=other))
    both = (np.maximum(renderer.matte(source), new) > 0.01).astype(np.uint8)
    reach = 2 * (NEAR + 10) + 1
    return torch.from_numpy(cv2.dilate(both, np.ones((reach, reach), np.uint8)) > 0), torch.from_numpy(new > 0.99)


def test_an_edit_without_the_wished_emoji_stays_as_it_is(renderer: Renderer, shapes: EmojiShapes) -> None:
    source = draw(np.random.default_rng(3))
    before = as_tensor(renderer.picture(source))[None]
    noise = torch.rand(before.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    background = find_background(before, (source.concept, "fox"), shapes)
    assert background is not None and torch.equal(background.behind(noise), noise)
    tall = torch.cat([before, before[..., :8, :]], dim=-2)
    assert find_background(tall, (source.concept, source.concept), shapes) is None


def test_a_word_swap_keeps_the_pixels_of_its_background(tmp_path: Path) -> None:
    scene, out = SAMPLES / "lady-beetle.png", tmp_path / "out.png"
    prompt = "hamburger on a yellow and blue checkered background"
    assert main(["edit", str(scene), "--prompt", prompt, "-o", str(out)]) in (0, 4)
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (scene, out))
    corners = np.ix_([*range(16), *range(112, 128)], [*range(16), *range(112, 128)])
    assert np.array_equal(after[corners], before[corners]) and np.abs(after - before)[40:88, 40:88].mean() > 20

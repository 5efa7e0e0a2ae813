"""The subject of a scene, cut out and put before other backgrounds, against true renders."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.repainting import fill_subject
from fastdiff.apps.edit.settings import settings_of
from fastdiff.apps.edit.shape import EmojiShapes
from fastdiff.apps.edit.subject import Subject, find_subject, nearest
from fastdiff.apps.similarity import psnr
from fastdiff.cli.main import main
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.recogniser import LABELS
from fastdiff.training.edit.render import Renderer, background
from fastdiff.training.edit.scenes import Background, Pattern, Pose, Scene, draw

SAMPLES = Path(__file__).parents[2] / "data" / "samples-edit"


@pytest.fixture(scope="module")
def shapes() -> EmojiShapes:
    return EmojiShapes(LABELS.concepts)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(12)
    return [draw(rng, held=True) for _ in range(8)]


def found(scene: Scene, renderer: Renderer, shapes: EmojiShapes) -> Subject:
    subject = find_subject(as_tensor(renderer.picture(scene))[None], scene.concept, shapes)
    assert subject is not None, scene.caption
    return subject


def edges(matte: np.ndarray) -> Tensor:
    """Where a matte (H, W) is neither 0 nor 1, and a pixel around."""
    soft = ((matte > 0.02) & (matte < 0.98)).astype(np.uint8)
    return torch.from_numpy(cv2.dilate(soft, np.ones((3, 3), np.uint8)) > 0)


def test_a_subject_before_another_background_is_nearly_the_true_render(
    renderer: Renderer, shapes: EmojiShapes, scenes: list[Scene]
) -> None:
    """A hard cut at half of the true opacity, which keeps a rim of the old background, is farther from it."""
    ours, hard = [], []
    for scene in scenes:
        other = Background("plain", ("white" if "white" not in scene.background.colours else "black",))
        behind_it = as_tensor(background(other, scene.pattern))[None]
        truth = as_tensor(renderer.picture(replace(scene, background=other)))[None]
        before, matte = as_tensor(renderer.picture(scene))[None], renderer.matte(scene)
        cut = torch.where(torch.from_numpy(matte > 0.5), before, behind_it)
        edge = edges(matte).expand_as(truth)
        made = found(scene, renderer, shapes).over(behind_it)
        ours.append(psnr(made[edge], truth[edge]))
        hard.append(psnr(cut[edge], truth[edge]))
        assert psnr(made, truth) > 28, scene.caption
    assert np.mean(ours) > np.mean(hard) + 2


@pytest.mark.parametrize("kind", ["plain", "striped", "dotted", "checkered", "gradient"])
def test_a_subject_of_thin_parts_is_found(kind: str, renderer: Renderer, shapes: EmojiShapes) -> None:
    colours = ("green",) if kind == "plain" else ("green", "yellow")
    scene = Scene("bicycle", Background(kind, colours), Pose(108, 68, 67, 5), Pattern(180, 32, 30))
    white = Background("plain", ("white",))
    made = found(scene, renderer, shapes).over(as_tensor(background(white, scene.pattern))[None])
    truth = as_tensor(renderer.picture(replace(scene, background=white)))[None]
    assert psnr(made, truth) > 24


def test_a_subject_keeps_its_pixels_and_nothing_of_its_old_background(
    renderer: Renderer, shapes: EmojiShapes, scenes: list[Scene]
) -> None:
    scene = replace(scenes[0], background=Background("striped", ("red", "green")))
    before, matte = as_tensor(renderer.picture(scene))[None], torch.from_numpy(renderer.matte(scene))
    made = found(scene, renderer, shapes).over(torch.full_like(before, 0.5))
    inside = (matte > 0.99).expand_as(before)
    assert (made - before)[inside].abs().mean() < 0.01
    far = torch.from_numpy(cv2.dilate(matte.numpy(), np.ones((9, 9), np.uint8)) < 0.02).expand_as(before)
    assert torch.equal(made[far], torch.full_like(made[far], 0.5))


def test_another_emoji_or_a_picture_that_is_no_square_has_no_subject(
    renderer: Renderer, shapes: EmojiShapes, scenes: list[Scene]
) -> None:
    picture = as_tensor(renderer.picture(replace(scenes[0], concept="fox")))[None]
    assert find_subject(picture, "cactus", shapes) is None
    assert find_subject(picture[..., 8:-8], "fox", shapes) is None


def test_a_larger_scene_is_cut_at_its_own_size(renderer: Renderer, shapes: EmojiShapes, scenes: list[Scene]) -> None:
    small = found(scenes[1], renderer, shapes)
    large = cv2.resize(renderer.picture(scenes[1]), (256, 256), interpolation=cv2.INTER_CUBIC)
    subject = find_subject(as_tensor(large)[None], scenes[1].concept, shapes)
    assert subject is not None and subject.opacity.shape == (1, 1, 256, 256)
    shrunk = torch.nn.functional.avg_pool2d(subject.opacity, 2)
    assert (shrunk - small.opacity).abs().mean() < 0.02


def test_the_surroundings_of_a_subject_take_the_nearest_colours() -> None:
    opacity, picture = torch.zeros(1, 1, 9, 9), torch.zeros(1, 3, 9, 9)
    opacity[..., 4, 4], picture[..., 3:6, 3:6], picture[..., :, 8] = 1, 1, -1
    filled = fill_subject(picture, Subject(opacity, opacity.expand(1, 3, 9, 9)), 2)
    assert not filled[..., :8].any() and torch.equal(filled[..., 8], picture[..., 8])
    assert np.array_equal(nearest(np.zeros((2, 2), bool)), [[0, 1], [2, 3]])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_an_edit_of_the_background_keeps_the_subject_and_respects_the_mask(tmp_path: Path, shapes: EmojiShapes) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[:, 64:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    scene = SAMPLES / "dog-face.png"
    before, way = pixels(scene), (str(scene), "--prompt", "dog face on a red background", "--attempts", "1")
    assert main(["edit", *way, "-o", str(tmp_path / "whole.png")]) in (0, 4)
    assert main(["edit", *way, "--mask", str(tmp_path / "mask.png"), "-o", str(tmp_path / "half.png")]) in (0, 4)
    subject = find_subject(as_tensor(before.astype(np.uint8))[None], "dog face", shapes)
    assert subject is not None
    inside, outside = (subject.opacity[0, 0] > 0.999).numpy(), (subject.opacity[0, 0] < 0.01).numpy()
    whole, half = pixels(tmp_path / "whole.png"), pixels(tmp_path / "half.png")
    assert inside.mean() > 0.2 and np.abs(whole - before)[inside].max() <= 1
    assert np.abs(whole - before)[outside].max(1).min() > 30
    assert np.array_equal(half[:, :64], before[:, :64]) and np.abs(half - before)[inside].max() <= 1


def test_options_that_steer_the_edit_of_an_inverted_picture_do_not_repaint() -> None:
    plain = Options(("a.png",), prompt="dog face on a red background")
    assert settings_of(plain).preset.repaint_guidance is not None
    assert settings_of(replace(plain, guidance=0.0)).preset.repaint_guidance == 0
    steered = ({"strength": 0.9}, {"blend": "dog"}, {"solver": "ddim"}, {"emphasize": ("dog:2",)}, {"merge": 0.5})
    assert all(settings_of(replace(plain, **changes)).preset.repaint_guidance is None for changes in steered)


def test_a_subject_that_is_not_kept_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.open(SAMPLES / "dog-face.png").crop((0, 4, 128, 124)).save(tmp_path / "dog.png")
    way = ("--prompt", "dog face on a red background", "--attempts", "1", "-o", str(tmp_path / "out.png"))
    assert main(["edit", str(tmp_path / "dog.png"), *way]) in (0, 4)
    assert "its subject was not found reliably" in capsys.readouterr().out


def test_a_background_that_the_prompt_does_not_name_stays(tmp_path: Path) -> None:
    scene = SAMPLES / "dog-face.png"
    assert main(["edit", str(scene), "--prompt", "dog face", "-o", str(tmp_path / "same.png")]) == 0
    assert np.array_equal(pixels(tmp_path / "same.png"), pixels(scene))
    assert main(["edit", str(scene), "--prompt", "cat face", "-o", str(tmp_path / "cat.png"), "--json"]) in (0, 4)
    corner = (slice(0, 12), slice(0, 12))
    assert np.abs(pixels(tmp_path / "cat.png") - pixels(scene))[corner].mean() < 12

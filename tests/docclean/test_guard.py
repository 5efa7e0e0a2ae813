"""Tests of the guard: lost, recoloured and invented content goes back, dirt stays away, sharper strokes stay."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pages import text_page
from PIL import Image

from fastdiff.apps.docclean.guard.guard import GuardResult, guard
from fastdiff.apps.docclean.guard.lines import lost_lines
from fastdiff.apps.docclean.guard.mark_classifier import MarkClassifier
from fastdiff.apps.docclean.imaging.illumination import even_out
from fastdiff.apps.docclean.imaging.layers import Layers, split, working_copy
from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer
from fastdiff.training.docclean.guard_fit import fit
from fastdiff.training.docclean.guard_samples import Samples

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
SIDE = 800
PHOTO, BOX, BARS = np.s_[430:620, 60:320], np.s_[430:520, 400:740], np.s_[560:660, 420:720]
PENCIL, HAIR = np.s_[664:676, 80:360], np.s_[690:697, 60:740]
STAMP, STAIN = np.s_[690:790, 600:720], np.s_[700:790, 90:250]


@pytest.fixture(scope="module")
def text() -> np.ndarray:
    """Black text on the upper half of a white page, RGB."""
    page = np.full((SIDE, SIDE, 3), 255, np.uint8)
    lines = text_page(26)[:400, :SIDE]
    page[: lines.shape[0], : lines.shape[1]] = lines[..., None]
    return page


@pytest.fixture(scope="module")
def figures(text) -> np.ndarray:
    """The text with a photograph, a pale box, pale bars, a pencil line, a hair line and a red ring."""
    page = text.copy()
    tones = np.random.default_rng(0).integers(40, 240, (9, 12, 3)).astype(np.uint8)
    grain = np.random.default_rng(1).normal(0, 5, (190, 260, 1))
    page[PHOTO] = np.clip(cv2.resize(tones, (260, 190), interpolation=cv2.INTER_CUBIC) + grain, 0, 255)
    page[BOX] = (222, 234, 250)
    for left in range(420, 720, 60):
        page[560:660, left : left + 40] = (200, 225, 180)
    cv2.line(page, (80, 670), (360, 670), (200,) * 3, 2, cv2.LINE_AA)
    page[693, 60:590] = 60
    cv2.circle(page, (660, 740), 40, (200, 50, 60), 4, cv2.LINE_AA)
    return page


def stained(page: np.ndarray) -> np.ndarray:
    """The page under a brown blot that fades out, with noise."""
    depth = np.zeros((SIDE, SIDE), np.float32)
    cv2.circle(depth, (170, 745), 30, 1, -1)
    depth = cv2.GaussianBlur(depth, (0, 0), 9)[..., None] * np.array([0.15, 0.3, 0.5])
    return np.clip(page * (1 - depth) + np.random.default_rng(2).normal(0, 2, page.shape), 0, 255).astype(np.uint8)


def put_back(guarded: GuardResult, evened: np.ndarray, part: tuple[slice, slice]) -> float:
    """The share of a part of the page that is as on the evened-out page."""
    difference = np.abs(guarded.pixels[part].astype(float) - evened[part])
    return float(np.mean(difference.reshape(*difference.shape[:2], -1).max(-1) < 10))


@pytest.mark.parametrize("scale", [1, 257], ids=["8 bit", "16 bit"])
def test_bleached_content_is_put_back_and_the_stain_is_not(figures, text, scale: int) -> None:
    evened = stained(figures)
    dtype = np.dtype(np.uint8 if scale == 1 else np.uint16)
    guarded = guard(evened.astype(dtype) * dtype.type(scale), text.astype(dtype) * dtype.type(scale))
    assert guarded.pixels.dtype == dtype
    shown = replace(guarded, pixels=(guarded.pixels // scale).astype(np.uint8))
    for part in (PHOTO, BOX, BARS, PENCIL, HAIR, STAMP):
        assert put_back(shown, evened, part) > 0.95
    assert shown.pixels[STAIN].mean() > 252 > evened[STAIN].mean()
    assert np.array_equal(shown.pixels[:380], text[:380])
    assert 0.05 < guarded.share < 0.6  # of the strokes: pencil and hair line, not those in figures


def test_a_grey_page_is_guarded_alike(figures, text) -> None:
    evened, restored = (cv2.cvtColor(page, cv2.COLOR_RGB2GRAY) for page in (stained(figures), text))
    guarded = guard(evened, restored)
    assert guarded.pixels.shape == evened.shape
    for part in (PHOTO, PENCIL, HAIR, STAMP):
        assert put_back(guarded, evened, part) > 0.95
    assert guarded.pixels[STAIN].mean() > 252


def test_regions_name_the_cause_and_enclose_what_was_put_back(figures, text) -> None:
    guarded = guard(stained(figures), text)
    changed = np.abs(guarded.pixels.astype(int) - text).max(-1) > 60
    covered = np.zeros_like(changed)
    for region in guarded.regions:
        left, top, right, bottom = region.box
        covered[top - 6 : bottom + 6, left - 6 : right + 6] = True
        assert region.decision == "put back"
    assert not (changed & ~covered).any()
    photo = [region for region in guarded.regions if region.cause == "area changed" and region.box[0] < 100]
    assert photo and photo[0].box == pytest.approx((60, 430, 320, 620), abs=8)


def test_red_ink_that_turned_black_is_red_again(figures) -> None:
    black = figures.copy()
    black[STAMP] = black[STAMP].min(-1, keepdims=True)
    guarded = guard(figures, black)
    assert put_back(guarded, figures, STAMP) > 0.97
    assert {region.cause for region in guarded.regions} == {"strokes recoloured"}


def test_invented_strokes_go_and_nothing_else_changes(text) -> None:
    restored = text.copy()
    cv2.putText(restored, "8", (300, 600), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 3, cv2.LINE_AA)
    guarded = guard(text, restored)
    assert guarded.pixels[560:620, 280:340].min() > 240
    assert [region.cause for region in guarded.regions] == ["strokes invented"]
    left, top, right, bottom = guarded.regions[0].box
    assert 290 < left < right < 335 and 570 < top < bottom < 610


def test_a_gap_in_a_long_stroke_is_put_back(figures) -> None:
    broken = figures.copy()
    broken[664:676, 200:240] = 255  # a seventh of the pencil line
    guarded = guard(figures, broken)
    assert put_back(guarded, figures, np.s_[664:676, 202:238]) > 0.95
    assert {region.cause for region in guarded.regions} == {"strokes gone"}


@pytest.mark.parametrize("dotted", [False, True])
def test_faint_rules_in_noise_go_back_and_a_faint_fold_does_not(text, dotted: bool) -> None:
    """They are seven grey levels dark, in noise of four."""
    page = text.copy()
    page[700, 60 : 740 : 2 if dotted else 1] -= 14 if dotted else 7
    page[440:690, 600] -= 7
    cv2.line(page, (60, 450), (560, 600), (248,) * 3, 1)
    noise = np.random.default_rng(3).normal(0, 4, (SIDE, SIDE, 1))
    evened = np.clip(page + noise - 6, 0, 255).astype(np.uint8)
    guarded = guard(evened, text)
    assert put_back(guarded, evened, np.s_[700:701, 60:740]) > 0.9
    assert put_back(guarded, evened, np.s_[440:690, 600:601]) > 0.9
    assert (guarded.pixels[420:690, :560] == text[420:690, :560]).mean() > 0.99
    assert {region.cause for region in guarded.regions} == {"strokes gone"}


def test_sharper_and_darker_strokes_are_left_alone(text) -> None:
    soft = cv2.addWeighted(cv2.GaussianBlur(text, (0, 0), 1.3), 0.6, np.full_like(text, 255), 0.4, 0)
    guarded = guard(soft, text)
    assert guarded.regions == () and guarded.share == 0
    assert np.array_equal(guarded.pixels, text)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 90), (60, 2, 3)])
def test_pages_of_a_few_pixels_come_through(shape: tuple[int, ...]) -> None:
    page = np.full(shape, 255, np.uint8)
    assert np.array_equal(guard(page, page).pixels, page)


def test_a_fitted_classifier_separates_its_samples_and_is_deterministic() -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(0, 1, (800, 5)).astype(np.float32)
    content = features[:, 0] > features[:, 3]
    samples = Samples(features, content, rng.uniform(3, 90, 800))
    first, second = (fit(samples, seed=3, hidden=8, steps=400) for _ in range(2))
    assert first == second
    judge = MarkClassifier(**{name: np.array(value, np.float32) for name, value in first.items()})
    assert np.mean((judge(features) > 0.5) == content) > 0.95


def test_the_core_of_a_shadow_does_not_go_back() -> None:
    letter = np.asarray(Image.open(SAMPLES / "letter.png"))
    restored = PageRestorer(task="clean")(letter, 0).pixels
    assert not [region for region in guard(even_out(letter), restored).regions if region.cause == "area changed"]


def layers_of(page: np.ndarray) -> Layers:
    """The layers of a grey page with strong grain."""
    grain = np.abs(np.random.default_rng(4).normal(0, 25, page.shape))
    return split(working_copy(np.clip(page - grain, 0, 255).astype(np.uint8)))


def test_a_rule_fainter_than_the_grain_is_found_and_a_streak_of_the_scanner_is_none() -> None:
    page, blank = np.full((SIDE, SIDE), 255.0), split(np.full((SIDE, SIDE, 3), 255, np.uint8))
    assert lost_lines(layers_of(page), blank).mean() < 0.002  # about 0.02 if grain passed for lines
    page[300, 60:740] -= 22
    page[:, 500] -= 22  # from border to border
    lost = lost_lines(layers_of(page), blank)
    assert lost[300, 80:720].mean() > 0.95
    assert lost[20:280, 498:503].mean() < 0.05


def test_specks_of_strong_grain_do_not_go_back() -> None:
    notice = np.asarray(Image.open(SAMPLES / "notice.jpg"))
    evened, restored = even_out(notice), PageRestorer(task="clean")(notice, 0).pixels
    assert guard(evened, restored).regions == ()


def test_the_dashes_of_a_pencil_go_back_on_strong_grain(text) -> None:
    page = text[..., 0].astype(np.float32)
    for left in range(100, 660, 12):
        page[760:762, left : left + 9] -= 40
    grain = cv2.GaussianBlur(np.random.default_rng(6).normal(0, 60, page.shape), (0, 0), 0.8)
    evened = np.clip(page - np.abs(grain), 0, 255).astype(np.uint8)
    guarded = guard(evened, text[..., 0])
    assert np.mean(guarded.pixels[760:762, 100:660] < 225) > 0.65


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_redrawn_photograph_gets_its_tones_back_without_its_grain(figures, dtype) -> None:
    """The network raised its contrast by a third: too little to count as gone."""
    scale = np.iinfo(dtype).max // 255
    grain = np.random.default_rng(8).normal(0, 6, figures.shape)
    evened, redrawn = np.clip(figures + grain, 0, 255).astype(np.uint8), figures.copy()
    redrawn[PHOTO] = np.clip(1.33 * (figures[PHOTO].astype(float) - 130) + 130, 0, 255)
    guarded = guard(evened.astype(dtype) * dtype(scale), redrawn.astype(dtype) * dtype(scale))
    (photo,) = [region for region in guarded.regions if region.cause == "photograph"]
    assert photo.box == pytest.approx((60, 430, 320, 620), abs=8)
    truth = figures[PHOTO].astype(float)
    pages = (evened[PHOTO], redrawn[PHOTO], guarded.pixels[PHOTO] / scale)
    given, restored, done = (np.abs(each - truth).mean() for each in pages)
    assert done < 0.95 * given and done < 0.5 * restored
    assert np.array_equal(guarded.pixels[BOX], redrawn[BOX].astype(dtype) * dtype(scale))

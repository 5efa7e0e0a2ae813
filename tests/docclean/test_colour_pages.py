"""Tests of the colour pages for training: content, degradation, and that degraded and clean patches match pixel by
pixel.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import ImageFont

from fastdiff.apps.docclean.imaging.paper import Paper
from fastdiff.training.docclean import losses, marks, palette, pictures, textures
from fastdiff.training.docclean.colour_dataset import ColourMixture, ColourPatches, is_undecidable
from fastdiff.training.docclean.colour_degrade import PROFILES, Scene, choose_white, degrade_colour
from fastdiff.training.docclean.colour_page import KINDS, ColourPage, ColourRenderer
from fastdiff.training.docclean.colour_pool import store
from fastdiff.training.docclean.fonts import FAMILIES, Face
from fastdiff.training.docclean.pool import SIDE


class OwnFace(Face):
    """Pillow's own font, which needs no installed one."""

    def at(self, pixels: float) -> ImageFont.FreeTypeFont:
        font = ImageFont.load_default(pixels)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font


@pytest.fixture(scope="module")
def renderer() -> ColourRenderer:
    photo = cv2.resize(np.random.default_rng(1).integers(0, 255, (9, 12, 3), np.uint8), (400, 300))
    face = OwnFace("Pillow", Path())
    return ColourRenderer({style: [[face]] for style in FAMILIES}, [photo], SIDE)


@pytest.fixture(scope="module")
def bank() -> textures.Bank:
    return textures.make_bank(np.random.default_rng(2), count=2, side=256)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_page(renderer: ColourRenderer, kind: str) -> None:
    one, other, another = (renderer.page(np.random.default_rng(seed), kind) for seed in (3, 3, 4))
    assert one.kind == kind and one.pixels.shape == (SIDE, SIDE, 3)
    assert np.array_equal(one.pixels, other.pixels) and np.array_equal(one.paper, other.paper)
    assert not np.array_equal(one.pixels, another.pixels)


def test_the_palest_pencil_leaves_its_grey_on_white_paper() -> None:
    page = np.full((SIDE, SIDE, 3), 255, np.uint8)
    marks.draw_signature(np.random.default_rng(0), page, np.full(3, 200 / 255, np.float32))
    assert page.min() == 200 and np.count_nonzero(page[..., 0] == 200) > 100
    assert np.ptp(page, axis=-1).max() == 0


def test_text_under_highlighter_stays_dark_and_paper_takes_its_colour() -> None:
    page = np.full((SIDE, SIDE, 3), 255, np.uint8)
    page[::40] = 20
    marks.highlight(np.random.default_rng(0), page, 30)
    marked = np.ptp(page, axis=-1) > 40
    assert np.count_nonzero(marked) > 1000
    assert page[::40].max() <= 20


def test_the_application_separates_coloured_paper_from_aged_paper() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        assert Paper(palette.choose_tint(rng)).tinted
        aged = Paper(palette.choose_aged(rng, rng.uniform(0.55, 1)))
        assert not aged.tinted or 0.7 <= aged.colour.max() < 0.75  # as dark as buff paper in the light of a scan


def test_halftones_keep_the_tones_of_their_picture() -> None:
    ramp = np.repeat(np.linspace(0, 255, 240, dtype=np.uint8)[None, :, None], 240, axis=0).repeat(3, axis=2)
    printed = [pictures.print_halftone(np.random.default_rng(seed), ramp).mean((0, 2)) for seed in range(6)]
    for tones in printed:
        assert np.corrcoef(cv2.blur(tones[None], (40, 1))[0], np.arange(240))[0, 1] > 0.98


@pytest.fixture
def page() -> np.ndarray:
    """Letters, a coloured box and a disc: shapes with edges in every direction, float32 (256, 256, 3)."""
    drawn = np.full((256, 256, 3), 255, np.uint8)
    for row in range(40, 250, 40):
        cv2.putText(drawn, "Rain 4 maps", (20, row), cv2.FONT_HERSHEY_SIMPLEX, 1, (20, 20, 20), 2, cv2.LINE_AA)
    cv2.rectangle(drawn, (130, 60), (230, 110), (190, 60, 40), -1)
    cv2.circle(drawn, (180, 190), 40, (60, 90, 200), 3, cv2.LINE_AA)
    return drawn / np.float32(255)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", range(4))
def test_degraded_shapes_stay_where_they_are(page: np.ndarray, bank: textures.Bank, profile: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = Scene(np.ones_like(page), 12.0, bank, choose_white(rng, True, profile))
    degraded = degrade_colour(rng, page, scene, profile)
    assert degraded.dtype == np.float32 and degraded.min() >= 0 and degraded.max() <= 1
    assert np.array_equal(np.round(degraded * 255) / np.float32(255), degraded)
    before, after = (picture[..., 1] - cv2.GaussianBlur(picture[..., 1], (0, 0), 8) for picture in (page, degraded))
    (x, y), certainty = cv2.phaseCorrelate(before, after, cv2.createHanningWindow((256, 256), cv2.CV_32F))
    assert np.hypot(x, y) < 0.6 and certainty > 0.05


def test_what_shines_through_keeps_its_colour_and_is_mirrored(bank: textures.Bank) -> None:
    back = np.ones((256, 256, 3), np.float32)
    back[:, :64] = (1, 0, 0)
    scene = Scene(back, 12.0, bank, np.ones(3, np.float32))
    seen = [PROFILES["scan"][1](np.random.default_rng(seed), np.ones_like(back), scene) for seed in range(8)]
    shown = [each for each in seen if each.min() < 0.99]
    assert shown
    for each in shown:
        assert each[:, :160].min() > 0.99
        assert each[:, 224:, 0].mean() > 0.99 > each[:, 224:, 1].mean()


def patches(folder, page: ColourPage, profile: str) -> ColourPatches:
    store(folder, [page], 1)
    return ColourPatches(folder, ColourMixture(side=96, profiles={profile: 1}), seed=4)


@pytest.mark.parametrize("profile", ["scan", "phone", "stain", "archive"])
@pytest.mark.parametrize("paper", [(255, 255, 255), (190, 215, 250)], ids=["white", "blue"])
def test_paper_of_any_colour_is_divided_out_and_turns_white(tmp_path, profile: str, paper: tuple[int, ...]) -> None:
    colour = np.array(paper, np.uint8)
    page = np.full((SIDE, SIDE, 3), colour)
    page[::50] = 0
    stream = patches(tmp_path, ColourPage(page, colour, 12.0, "text"), profile).samples()
    for sample in (next(stream) for _ in range(4)):
        assert sample.clean[~sample.content].min() > 0.97 and sample.clean[sample.content].min() < 0.7
        seen = np.median(sample.degraded[~sample.content], axis=0)
        assert seen.min() > 0.4 and seen.max() < 1.35 and np.ptp(seen) < 0.25


def test_neutral_paper_ages_and_coloured_paper_does_not() -> None:
    rng = np.random.default_rng(1)
    whites = ([choose_white(rng, neutral, "archive") for _ in range(200)] for neutral in (True, False))
    aged, coloured = (np.array(each) for each in whites)
    assert np.ptp(aged, axis=1).max() > 0.15 and aged.max(axis=1).min() < 0.6
    assert np.ptp(coloured, axis=1).max() < 0.1 and coloured.min() > 0.8
    assert (choose_white(rng, True, "clean") == 1).all()


def test_pencil_highlighter_and_hair_lines_are_content(tmp_path) -> None:
    pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
    pixels[::16, :, :] = 200
    pixels[:, ::16, :] = (255, 245, 120)
    sample = next(patches(tmp_path, ColourPage(pixels, np.full(3, 255, np.uint8), 12.0, "text"), "archive").samples())
    assert 0.08 < sample.content.mean() < 0.25
    assert sample.clean[..., 0].min() < 0.84 and sample.clean[..., 2].min() < 0.6
    assert sample.clean.max() == 1


def test_a_plain_grey_area_without_paper_is_undecidable_and_a_coloured_or_textured_one_is_not() -> None:
    grey = np.full((64, 64, 3), 0.8, np.float32)
    assert is_undecidable(grey)
    assert not is_undecidable(grey * np.array([1, 0.9, 0.6], np.float32))
    assert not is_undecidable(grey * np.linspace(0.6, 1, 64, dtype=np.float32)[:, None])
    beside = grey.copy()
    beside[:, :4] = 1
    assert not is_undecidable(beside)


def test_the_same_seed_gives_the_same_patches_and_a_later_start_others(renderer: ColourRenderer, tmp_path) -> None:
    store(tmp_path, (renderer.page(np.random.default_rng(index)) for index in range(3)), 3)
    streams = [iter(ColourPatches(tmp_path, ColourMixture(side=64), seed=4, start=start)) for start in (0, 0, 5)]
    for _ in range(3):
        one, again, later = (next(stream)[0] for stream in streams)
        assert torch.equal(one, again) and not torch.equal(one, later)


def test_lost_content_costs_more_than_dirt_that_is_left() -> None:
    clean = torch.ones(1, 3, 32, 32)
    clean[..., :16] = 0.7
    bleached, dirty = torch.ones_like(clean), torch.full_like(clean, 0.7)  # wrong in one half each, by the same
    edges = 0.1 * losses.edge_distance(bleached, clean)
    assert edges == pytest.approx(0.1 * losses.edge_distance(dirty, clean).item(), rel=1e-4)
    lost, left = (losses.weighted_restoration_loss(x, clean) - edges for x in (bleached, dirty))
    assert lost / left == pytest.approx(losses.LOSS, rel=1e-3)
    assert losses.weighted_restoration_loss(clean, clean) == 0

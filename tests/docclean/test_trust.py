"""The measures of the benchmark "trust" on pages whose answers are known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import ImageFont

from benchmarks.docclean.failing import even_light
from benchmarks.docclean.trust import measures, report
from benchmarks.docclean.trust.canvas import Sheet, Word
from benchmarks.docclean.trust.dirt import Strength, make_dirty_page
from fastdiff.apps.docclean.ocr.engines import Fragment, Reading
from fastdiff.training.docclean import textures

WHITE = np.full((120, 160, 3), 255, np.uint8)
BOX = (20, 20, 100, 90)  # left, top, right, bottom


def filled(colour, box=BOX):
    page = WHITE.copy()
    page[box[1] : box[3], box[0] : box[2]] = colour
    return page


def photograph():
    page = WHITE.copy()
    y, x = np.mgrid[:70, :80]
    page[20:90, 20:100] = (128 + 60 * np.sin(x / 3) * np.cos(y / 4)).astype(np.uint8)[..., None]
    return page


def ruled(level):
    page = WHITE.copy()
    page[60, 10:150] = level
    return page


def reading(*fragments):
    return Reading((tuple(Fragment(text, 0.9, box) for text, box in fragments),), 0.0)


def test_a_copied_page_keeps_everything():
    page = filled((240, 190, 190))
    kept, count = measures.colours_kept(page, page)
    assert kept == count >= 68 * 78
    assert measures.similarity(photograph(), photograph(), BOX) == pytest.approx(1)
    line = np.array([[10, 60], [149, 60]], np.float32)
    assert measures.strokes_kept(ruled(150), ruled(150), [line]) == (139, 139)


def test_a_fill_that_is_bleached_or_recoloured_is_lost():
    page = filled((240, 190, 190))
    for other in (WHITE, filled((190, 240, 190)), np.repeat(filled((205, 205, 205))[..., :1], 3, axis=2)):
        kept, count = measures.colours_kept(other, page)
        assert kept < 0.1 * count


def test_noise_on_a_fill_does_not_count():
    noise = np.random.default_rng(0).normal(0, 10, (120, 160, 1))
    noisy = np.clip(filled((240, 190, 190)) + noise, 0, 255).astype(np.uint8)
    kept, count = measures.colours_kept(noisy, filled((240, 190, 190)))
    assert kept > 0.98 * count


def test_a_bleached_photograph_fails():
    assert measures.similarity(WHITE, photograph(), BOX) < 0.2


@pytest.mark.parametrize(("level", "kept"), [(150, 1.0), (190, 1.0), (220, 0.0), (255, 0.0)])
def test_a_line_counts_down_to_half_of_its_contrast(level, kept):
    line = np.array([[10, 60], [149, 60]], np.float32)
    there, count = measures.strokes_kept(ruled(level), ruled(150), [line])
    assert there == kept * count


def test_the_lost_half_of_a_line_is_measured_by_its_length():
    line = np.array([[10, 60], [149, 60]], np.float32)
    broken = ruled(150)
    broken[60, 80:] = 255
    there, count = measures.strokes_kept(broken, ruled(150), [line])
    assert there / count == pytest.approx(0.5, abs=0.03)


def test_dirt_outside_content_is_counted_and_content_is_not():
    sheet = Sheet()
    sheet.fill((100, 100, 200, 200), (30, 60, 200))
    known = sheet.finish("box", 10, 400)
    outside = ~measures.content(known)
    assert not outside[95:205, 95:205].any() and outside[90, 90] and outside[300, 300]
    dirty = known.pixels.copy()
    dirty[100:200, 100:200] = 0
    assert measures.squared_error(dirty, known.pixels, outside) == 0
    dirty[300, 300] = 0
    assert measures.squared_error(dirty, known.pixels, outside) == pytest.approx(3)


def test_halved_error_is_half_of_the_dirt_gone():
    assert report.removed([{"dirt before": 4.0, "dirt": 1.0}]) == pytest.approx(0.5)


def test_a_changed_digit_is_a_lost_word():
    words = [Word("186.50", (10, 10, 60, 22)), Word("-7.25", (110, 10, 150, 22))]
    before = reading(("186.50", (8, 8, 62, 24)), ("-7.25", (108, 8, 152, 24)))
    after = reading(("106.50", (8, 8, 62, 24)), ("7.25", (108, 8, 152, 24)))
    assert measures.read_right(words, before).tolist() == [True, True]
    assert measures.read_right(words, after).tolist() == [False, False]


def test_words_are_found_in_joined_lines_and_only_at_their_place():
    words = [Word("copper", (10, 10, 60, 22)), Word("kettle", (70, 10, 115, 22)), Word("copper", (10, 40, 60, 52))]
    line = reading(("Copperkettle.", (8, 8, 120, 24)))
    assert measures.read_right(words, line).tolist() == [True, True, False]
    assert not measures.read_right([Word("12.50", (10, 10, 50, 22))], reading(("112.50", (8, 8, 52, 24)))).any()


def test_a_word_that_is_not_printed_there_is_untrue():
    words = [Word("copper", (10, 10, 60, 22))]
    assert measures.is_true("Copper", (8, 8, 62, 24), words)
    assert not measures.is_true("Coffee", (8, 8, 62, 24), words)
    assert not measures.is_true("Copper", (8, 48, 62, 64), words)


def test_the_sheet_records_the_places_of_its_words():
    sheet = Sheet()
    font = ImageFont.load_default(size=32)
    assert isinstance(font, ImageFont.FreeTypeFont)
    sheet.write(50, 60, "ink  and paper", font)
    page = sheet.finish("text", 12, 200).pixels[..., 0]
    assert [word.text for word in sheet.words] == ["ink", "and", "paper"]
    for word in sheet.words:
        left, top, right, bottom = (round(value) for value in word.box)
        assert page[top:bottom, left:right].min() < 100
        assert page[top - 3 : bottom + 3, left - 3 : left - 1].min() > 200  # nothing beside it
    inked = np.argwhere(page < 200)
    assert inked[:, 1].min() == pytest.approx(sheet.words[0].box[0], abs=1.5)
    assert inked[:, 1].max() == pytest.approx(sheet.words[-1].box[2], abs=1.5)


def boxed_sheet():
    sheet = Sheet()
    sheet.fill((100, 100, 300, 200), (40, 70, 200))
    return sheet.finish("charts", 10, 300)


def strength(**changes):
    none = Strength("none", (0, 0), 0, 0, 0, (0, 0), (0, 0), 0, (1, 1), 0, 100, (0, 0), (0, 0))
    return replace(none, **changes)


@pytest.mark.parametrize("grey", [False, True])
def test_without_dirt_the_page_under_even_light_is_the_evened_page(grey):
    bank = textures.make_bank(np.random.default_rng(0), count=1, side=64)
    page = make_dirty_page(np.random.default_rng(1), boxed_sheet(), boxed_sheet(), bank, strength(light=0.1), grey)
    assert np.array_equal(page.relit, page.evened)
    assert page.evened[0, 0].min() == 255  # white paper stays white, whatever the light
    assert page.pixels.ndim == (2 if grey else 3)


def test_dirt_is_on_the_page_and_not_on_the_evened_one():
    bank = textures.make_bank(np.random.default_rng(0), count=1, side=64)
    dirty = strength(stains=(0.3, 0.3), speckle=0.01)
    page = make_dirty_page(np.random.default_rng(1), boxed_sheet(), boxed_sheet(), bank, dirty, grey=False)
    outside = ~measures.content(page.known)
    assert (page.evened[outside] == 255).all()
    assert page.relit[outside].min() < 200


def test_a_smooth_shade_of_light_is_divided_out():
    y, x = np.mgrid[-1:1:200j, -1:1:300j]
    light = 0.85 + 0.08 * x - 0.05 * y * x
    page = np.full((200, 300), 255.0)
    page[50:80, 50:120] = 120
    evened = even_light(np.round(page * light).astype(np.uint8))
    assert np.abs(evened.astype(float) - page).max() <= 3

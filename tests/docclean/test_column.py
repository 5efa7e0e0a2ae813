import cv2
import numpy as np
import pytest
from known import known

from fastdiff.apps.docclean.ocr import engines, text_metrics
from fastdiff.solvers.errors import MissingError
from fastdiff.training.docclean import fonts
from fastdiff.training.docclean.column import held_out_faces, render_column


@pytest.fixture(scope="module")
def families():
    return held_out_faces()


@pytest.mark.parametrize("height", [10, 24])
def test_letters_have_the_requested_height(families, height):
    for faces in families:
        pixels = render_column(np.random.default_rng(0), faces[0], height).pixels
        _, _, stats, _ = cv2.connectedComponentsWithStats((pixels < 128).astype(np.uint8))
        heights = stats[1:, cv2.CC_STAT_HEIGHT]
        assert np.median(heights[heights > 0.3 * height]) == pytest.approx(height, abs=1)  # without dots and commas


def test_the_text_is_that_of_the_page(families):
    page = render_column(np.random.default_rng(1), families[0][0], 20, count=6, width=50)
    assert all(0 < len(line) <= 50 for line in page.lines)
    reading = known(engines.load_engine("rapidocr", "cpu")).read(page.pixels)
    assert text_metrics.cer(page.text, reading.text) < 0.05


def test_a_seed_fixes_the_page_and_another_one_changes_its_text(families):
    first, again, other = (render_column(np.random.default_rng(seed), families[0][0], 12) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.text != other.text


def test_absent_fonts_are_named_with_the_packages_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "font_folders", lambda: (tmp_path,))
    with pytest.raises(MissingError, match=r"EB Garamond.*fonts-ebgaramond, fonts-lato, fonts-courier-prime"):
        held_out_faces()


def test_no_held_out_family_teaches():
    assert not set(fonts.HELD_OUT) & {name for names in fonts.FAMILIES.values() for name in names}

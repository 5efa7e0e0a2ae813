"""Tests of restored pages: their bits, their colours, and the page of a deblurred one."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pages import text_page
from safetensors.torch import load_file, save_file

from fastdiff.apps.docclean.restoration.page_restorer import FADE, STRIP, PageRestorer
from fastdiff.models.restorers import bundled


def test_a_page_that_auto_finds_clean_is_returned_unchanged() -> None:
    page = np.full((200, 300), 65535, np.uint16)
    page[50:60, 50:200] = 0
    restored_page = PageRestorer()(page, key=0)
    assert restored_page.pixels is page and restored_page.task == "none" and restored_page.calls == 0
    assert PageRestorer(task="clean")(page, key=0).pixels.dtype == np.uint16


def test_deblurred_pages_keep_their_highlighter_in_a_shadow() -> None:
    page = np.repeat(text_page(26)[:, :, None], 3, axis=2)
    page[90:130, 100:500] = np.minimum(page[90:130, 100:500], (250, 240, 120))
    light = np.linspace(0.6, 1, page.shape[1])[:, None]
    blurred = (cv2.GaussianBlur(page, (0, 0), 2.5) * light).astype(np.uint8)
    deblurred = PageRestorer(task="deblur", device="cpu")(blurred, 0).pixels
    marked = np.quantile(deblurred[95:125, 110:490].reshape(-1, 3), 0.7, axis=0)  # of the paper between letters
    assert np.abs(marked - (250, 240, 120)).max() < 30


def test_deblurred_pages_have_no_seams_between_their_strips() -> None:
    sharp = np.vstack([text_page(16)] * 9)[:1200, :240]
    page = cv2.GaussianBlur(sharp, (0, 0), 1.8)
    restored = PageRestorer(task="deblur", device="cpu")(page, 0).pixels
    error = np.abs(restored.astype(float) - sharp)
    assert np.abs(page.astype(float) - sharp).mean() > 1.5 * error.mean()
    seam = slice(STRIP - FADE, STRIP)
    assert error[seam].mean() / (sharp[seam] < 128).mean() < 1.1 * error.mean() / (sharp < 128).mean()
    paper = sharp[STRIP - FADE - 40 : STRIP + 40].min(axis=1) == 255  # rows without letters
    assert np.ptp(restored[STRIP - FADE - 40 : STRIP + 40][paper].mean(axis=1)) < 5


@pytest.mark.parametrize(("task", "calls"), [("deblur", 1), ("clean", 0), ("binarize", 0)])
def test_the_denoiser_is_called_where_that_reads_better(task: str, calls: int) -> None:
    assert PageRestorer(task=task, device="cpu")(text_page(12), 0).calls == calls


def test_deblurring_without_a_denoiser_is_left_to_the_predictor(tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    save_file({name: value for name, value in load_file(bundled("deblur")).items() if "predictor" in name}, alone)
    page = text_page(12)
    predicted = PageRestorer(task="deblur", device="cpu", weights=alone)(page, 0)
    asked = PageRestorer(task="deblur", device="cpu", calls=0)(page, 0)
    assert predicted.calls == asked.calls == 0 and np.array_equal(predicted.pixels, asked.pixels)

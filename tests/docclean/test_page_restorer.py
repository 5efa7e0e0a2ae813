"""Tests of restored pages: their bits, their colours, and the page of a deblurred one."""

import cv2
import numpy as np
from pages import text_page

from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer


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

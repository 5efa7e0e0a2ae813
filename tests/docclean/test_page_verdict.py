import cv2
import numpy as np
import pytest

from fastdiff.apps.docclean.ocr.engines import Fragment, Reading
from fastdiff.apps.docclean.ocr.page_verdict import ink_verdict, is_legible, reading_verdict


def reading(words, confidence=0.9, changed=()):
    """Words one below the other; `changed` of another confidence follow."""
    told = [(word, 0.9 if changed else confidence) for word in words] + [(word, confidence) for word in changed]
    return Reading((tuple(Fragment(*each, (0, row, 1, row + 1)) for row, each in enumerate(told)),), seconds=0.0)


BEFORE = reading(["table"] * 100)


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        (reading(["table"] * 98 + ["tabxe"] * 2, confidence=0.881), None),
        (reading(["table"] * 97 + ["tabxe"] * 3), "dictionary words fell from 100 to 97"),
        (reading(["table"] * 100, confidence=0.5), None),  # the same text, whatever the engine thinks of it
        (reading(["table"] * 92, 0.2, changed=["cable"] * 8), None),
        (reading(["table"] * 92, 0.1, changed=["cable"] * 8), "confidence fell from 0.90 to 0.84"),
        (reading(["table"] * 89), "characters read fell from 500 to 445"),
        (reading(["table"] * 200), None),
        (Reading((), 0.0), "characters"),
    ],
)
def test_text_may_grow_but_not_be_lost(after, complaint):
    verdict = reading_verdict(BEFORE, after)
    assert verdict.accept == (complaint is None)
    assert complaint is None or complaint in verdict.reason


def test_text_that_is_found_only_now_may_be_unsure():
    more = reading(["table"] * 100, 0.1, changed=["labels"] * 40)
    assert more.confidence < 0.7 and reading_verdict(BEFORE, more).accept


def test_guesses_may_be_lost():
    assert reading_verdict(reading(["table"] * 100, 0.2, changed=["cable"] * 10), BEFORE).accept
    assert not reading_verdict(reading(["table"] * 100, 0.4, changed=["cable"] * 10), BEFORE).accept


def test_a_short_page_may_lose_two_words():
    before = reading(["table"] * 30)
    assert reading_verdict(before, reading(["table"] * 28 + ["tabxe"] * 2)).accept
    assert not reading_verdict(before, reading(["table"] * 27 + ["tabxe"] * 3)).accept


def test_guesses_and_a_few_letters_are_no_text():
    assert is_legible(reading(["table"] * 4, confidence=0.5))
    assert not is_legible(reading(["table"] * 3))
    assert not is_legible(reading(["table"] * 100, confidence=0.49))


def drawing(ink=0, paper=255):
    """Lines of two pixels, a ring, a solid box and dots on a page of 600 x 800."""
    page = np.full((600, 800), paper, np.uint8)
    for y in range(60, 300, 40):
        cv2.line(page, (60, y), (500, y + 10), ink, 2)
    cv2.circle(page, (200, 440), 80, ink, 3)
    cv2.rectangle(page, (500, 380), (560, 440), ink, -1)
    for x in range(400, 760, 30):
        cv2.circle(page, (x, 540), 3, ink, -1)
    return page


def without_ring(page):
    page = page.copy()
    page[350:530, 110:290] = 255
    return page


def without_box(page):
    page = page.copy()
    page[375:445, 495:565] = 255
    return page


def stained(page):
    """Multiplied by a coffee stain, a gutter shadow and a slope of light."""
    light = np.ones(page.shape)
    cv2.circle(light, (300, 300), 150, 0.6, -1)
    light = light * np.linspace(0.5, 1, page.shape[1]) * np.linspace(1, 0.8, page.shape[0])[:, None]
    return (page * light).astype(np.uint8)


def noisy(page, sigma=6.0):
    return np.clip(page + np.random.default_rng(0).normal(0, sigma, page.shape), 0, 255).astype(np.uint8)


def defocused(page, radius=4):
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.filter2D(page, -1, disc / disc.sum())


@pytest.mark.parametrize("damage", [stained, noisy, defocused, lambda page: noisy(stained(page))])
def test_cleaning_that_keeps_the_ink_is_accepted(damage):
    assert ink_verdict(damage(drawing()), drawing()).accept


@pytest.mark.parametrize("loss", [without_ring, without_box, lambda page: np.full_like(page, 255)])
@pytest.mark.parametrize("damage", [stained, noisy])
def test_cleaning_that_loses_ink_is_rejected(damage, loss):
    verdict = ink_verdict(damage(drawing()), loss(drawing()))
    assert not verdict.accept
    assert "%" in verdict.reason


def test_a_faint_pencil_drawing_is_not_taken_for_paper():
    faint = drawing(ink=170, paper=245)
    assert ink_verdict(faint, drawing()).accept
    assert not ink_verdict(faint, np.full_like(faint, 255)).accept


def test_a_blank_page_has_no_ink_to_lose():
    blank = noisy(stained(np.full((600, 800), 240, np.uint8)))
    dust = blank.copy()
    dust[100:103, 50:800:60] = 0
    white = np.full_like(blank, 255)
    assert ink_verdict(blank, white).accept
    assert ink_verdict(dust, white).accept


def test_pages_in_colour_and_larger_than_the_working_size():
    page = cv2.resize(drawing(), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    colour = np.stack([page] * 3, axis=-1)
    assert ink_verdict(colour, colour).accept
    assert not ink_verdict(colour, np.full_like(colour, 255)).accept


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 3)])
def test_slivers_are_judged_too(shape):
    assert ink_verdict(np.full(shape, 255, np.uint8), np.full(shape, 255, np.uint8)).accept

"""Finds content of a page that cleaning changed and puts it back: marks by the guard, words by two readings."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np

from fastdiff.apps.docclean.guard.guard import GuardResult, guard, rows_of
from fastdiff.apps.docclean.imaging import colour, stroke_shapes
from fastdiff.apps.docclean.imaging.paper_matching import match_paper
from fastdiff.apps.docclean.imaging.regions import (
    Box,
    RecoveredWord,
    Region,
    any_holds_middle,
    holds_middle,
    mask_of,
    put_back,
)
from fastdiff.apps.docclean.imaging.surroundings import near_strokes, strokes_of_either
from fastdiff.apps.docclean.ocr import word_comparison
from fastdiff.apps.docclean.ocr.engines import Reading
from fastdiff.apps.docclean.ocr.scoring import Scorer
from fastdiff.apps.docclean.ocr.word_comparison import WordPair
from fastdiff.apps.docclean.ocr.word_decisions import (
    WordDecision,
    decide,
    hides_words,
    is_ambiguous,
    without_misread_digits,
)
from fastdiff.apps.docclean.restoration.page_restorer import RestoredPage

NUMBERS = 60  # numbers, of which one may read otherwise: engines vary by as much from run to run
MOST_PUT_BACK = 0.5  # share of a page's strokes that may go back, and
MOST_COVERED = 0.75  # share of the page that areas may take back; beyond either, the cleaned page is not used
SEEN = 0.15  # least change of a pixel, white = 1, for which a word that went back is listed


@dataclass(frozen=True)
class ProtectedPage:
    """A page with its content put back, the regions, the recovered words, and the shares of `GuardResult`.

    `word_pairs` compare the given page with this page; they are empty without two readings. `deblurred` is True
    if numbers may be linearly sharpened.
    """

    pixels: np.ndarray
    regions: tuple[Region, ...] = ()
    recovered: tuple[RecoveredWord, ...] = ()
    word_pairs: tuple[WordPair, ...] = ()
    share: float = 0.0
    cover: float = 0.0
    deblurred: bool = False

    @property
    def lost(self) -> tuple[WordPair, ...]:
        """The numbers that were surely read before and read otherwise on this page.

        On a deblurred page such a number is lost only where it is less surely read now: engines are sure of misread
        blurred numbers, and a linear filter cannot make one number of another.
        """
        lost = (pair for pair in self.word_pairs if pair.number_lost)
        return tuple(pair for pair in lost if not (self.deblurred and pair.surer))

    @property
    def numbers_lost(self) -> str | None:
        """A sentence if more than one in NUMBERS of the surely read words with digits reads otherwise."""
        sure = sum(pair.number for pair in self.word_pairs)
        lost = len(self.lost)
        return f"{lost} of {sure} numbers would read otherwise" if lost > max(1, sure / NUMBERS) else None

    @property
    def content_lost(self) -> str | None:
        """A sentence if so much of the page went back that its rest cannot be trusted."""
        if self.share > MOST_PUT_BACK:
            return f"{self.share:.0%} of its strokes would have changed"
        return f"{self.cover:.0%} of it would have changed" if self.cover > MOST_COVERED else None


class ContentProtector:
    """Compares a restored page with the given page, and puts changed content back.

    A deblurred page is also read as linear filters alone sharpen it. `trust_digits` lets deblurring rewrite words with
    digits. With `force_clean` nothing goes back, and regions are "left".
    """

    def __init__(self, scorer: Scorer, trust_digits: bool, force_clean: bool) -> None:
        self._scorer, self._trust_digits, self._force_clean = scorer, trust_digits, force_clean

    def __call__(self, restored_page: RestoredPage, before: Reading | None) -> tuple[ProtectedPage, Reading | None]:
        """Return the page with its content put back, and its reading.

        `before` is the reading of the given page, None without OCR.
        """
        evened = restored_page.evened
        restored_page, guarded = _guarded(restored_page)
        page = restored_page.pixels if self._force_clean else guarded.pixels
        if restored_page.blur is not None and restored_page.task == "clean" and not self._force_clean:
            # the network for sharp pages would break up blurred strokes
            page = put_back(page, stroke_shapes.with_ground(evened, page), _all_strokes(page, restored_page))
            whole = _whole(page, "blurred strokes, which the page keeps")
            after = self._scorer.read(page)
            return self._decided(page, guarded, (whole,), _word_pairs(before, after, evened)), after
        after = self._scorer.read(page)
        word_pairs = _word_pairs(before, after, evened)
        if before is None or after is None:
            return self._decided(page, guarded, (), word_pairs), None
        beside, ambiguous = cache(lambda: _fit_beside(page, restored_page)), None
        deblurred = restored_page.deconvolved is not None
        if deblurred:
            apart = (each for pair in word_pairs for each in _apart(pair, after, evened))
            word_pairs = tuple(map(without_misread_digits, apart))
            ambiguous = self._ambiguous_words(page, beside(), before, after)
        decisions = decide(word_pairs, ambiguous, self._trust_digits)
        returned, regions = _with_words_back(page, beside, decisions, _all_strokes(page, restored_page))
        recovered = tuple(RecoveredWord(pair.box, pair.after) for pair in word_pairs if pair.judgement == "recovered")
        found = self._decided(page, guarded, regions, word_pairs, recovered)
        found = replace(found, deblurred=deblurred)
        if self._force_clean or returned is page:
            return found, after
        back = [region.box for region in regions if region.decision == "put back"]
        recovered = tuple(word for word in recovered if not any_holds_middle(back, word.box))
        return self._with_lines_back(replace(found, pixels=returned, recovered=recovered), restored_page, before)

    def _ambiguous_words(
        self, page: np.ndarray, sharpened: np.ndarray, before: Reading, after: Reading
    ) -> list[WordPair]:
        """Return the ambiguous words of a deblurred page; `sharpened` is by linear filters.

        `before` and `after` are the readings of the given page and of the deblurred one.
        """
        pairs = _word_pairs(after, self._scorer.read(sharpened), sharpened)
        found = (pair for pair in pairs if is_ambiguous(pair, word_comparison.text_in(pair.box, before.words)))
        return [pair for pair in found if _changed(page, sharpened, pair.box)]

    def _with_lines_back(
        self, found: ProtectedPage, restored_page: RestoredPage, before: Reading
    ) -> tuple[ProtectedPage, Reading | None]:
        """Put back whole lines in which a number that went back still reads otherwise; return the page and its reading.

        Engines read line by line: the rest of a line affects how they read its numbers.
        """
        evened = restored_page.evened
        after = self._scorer.read(found.pixels)
        if after is None or self._trust_digits:
            return found, after
        found = replace(found, word_pairs=_word_pairs(before, after, evened))
        boxes = sorted({_line_of(pair, before, evened.shape) for pair in found.lost})
        if not boxes:
            return found, after
        mask = mask_of(boxes, evened.shape)
        page = put_back(found.pixels, _fit_beside(found.pixels, replace(restored_page, deconvolved=None)), mask)
        lines = (Region(box, "line with a number that read otherwise", "put back") for box in boxes)
        others = (
            each for each in found.regions if each.decision == "put back" or not any_holds_middle(boxes, each.box)
        )
        recovered = tuple(word for word in found.recovered if not _inside(mask, word.box).any())
        after = self._scorer.read(page)
        found = replace(found, pixels=page, regions=(*others, *lines), recovered=recovered)
        return replace(found, word_pairs=_word_pairs(before, after, evened)), after

    def _decided(
        self,
        page: np.ndarray,
        guarded: GuardResult,
        regions: Sequence[Region],
        word_pairs: tuple[WordPair, ...],
        recovered: tuple[RecoveredWord, ...] = (),
    ) -> ProtectedPage:
        found = (*guarded.regions, *regions)
        if self._force_clean:
            return ProtectedPage(page, tuple(replace(each, decision="left") for each in found), recovered, word_pairs)
        return ProtectedPage(page, found, recovered, word_pairs, guarded.share, guarded.cover)


@dataclass(frozen=True)
class LessCleanedPage:
    """A less cleaned version of a page: its pixels, a clause that describes it, and the regions that only have their
    light evened.
    """

    pixels: np.ndarray
    done: str
    regions: tuple[Region, ...]


def less_cleaned_versions(found: ProtectedPage, restored_page: RestoredPage) -> Iterator[LessCleanedPage]:
    """Yield versions of a page that reads worse, or whose content is lost, each closer to the given page."""
    evened, page = restored_page.evened, found.pixels
    if found.content_lost is None:
        mask = _all_strokes(page, restored_page)
        back = (region for region in found.regions if region.decision == "put back")
        done, regions = "only its paper was cleaned", (_whole(page, "all strokes"), *back)
        yield LessCleanedPage(put_back(page, stroke_shapes.with_ground(evened, page), mask), done, regions)
        yield LessCleanedPage(put_back(page, evened, mask), done, regions)
    yield LessCleanedPage(evened, "only its light was evened out", (_whole(page, "all but the light"),))


def _guarded(restored_page: RestoredPage) -> tuple[RestoredPage, GuardResult]:
    """Return the restored page, and the result of the guard with the content back that it misses.

    A deblurred page is compared as blurred as the given one: what is sharper there is neither gone nor invented. Its
    photographs stay as soft as they came, also in the sharpened page, since sharpening would strengthen their grain, as
    do fills away from strokes. Both keep their level: the network may have taken a fill for dark paper. Strokes go back
    with the box around them, since a blurred page hides the finest beside them; areas in their own shape.
    """
    deconvolved, shape = restored_page.deconvolved, restored_page.pixels.shape
    if deconvolved is None:
        return restored_page, guard(restored_page.evened, restored_page.pixels)
    found = guard(restored_page.evened, deconvolved.reblurred)
    photographs = _mask_of_cause(found.regions, "photograph", shape)
    if photographs.any():
        sharpened = put_back(deconvolved.sharpened, found.pixels, photographs)
        restored_page = replace(restored_page, deconvolved=replace(deconvolved, sharpened=sharpened))
    back = _mask_of_cause(found.regions, "strokes", shape)
    page = put_back(restored_page.pixels, _fit_beside(restored_page.pixels, restored_page), back)
    if found.areas.any():
        areas = rows_of(found.areas, slice(0, shape[0]), shape)
        near = near_strokes(restored_page.evened, restored_page.edge_width)
        page = put_back(page, put_back(restored_page.evened, restored_page.given, near), areas)
    if photographs.any():
        page = put_back(page, found.pixels, photographs)
    return restored_page, replace(found, pixels=page)


def _mask_of_cause(regions: Iterable[Region], cause: str, shape: tuple[int, ...]) -> np.ndarray:
    return mask_of([region.box for region in regions if region.cause.startswith(cause)], shape)


def _with_words_back(
    page: np.ndarray, beside: Callable[[], np.ndarray], decisions: Sequence[WordDecision], strokes: np.ndarray
) -> tuple[np.ndarray, list[Region]]:
    """Return the page with the strokes of words from the page `beside` it, and the regions of all changed words.

    It is the very page if nothing goes back.
    """
    mask = mask_of([each.pair.box for each in decisions if each.goes_back], page.shape) & strokes
    returned = put_back(page, beside(), mask) if mask.any() else page
    listed = (each for each in decisions if not each.goes_back or _changed(page, returned, each.pair.box))
    return returned, [
        Region(each.pair.box, each.cause, "put back" if each.goes_back else "left", each.pair.texts) for each in listed
    ]


def _whole(page: np.ndarray, cause: str) -> Region:
    height, width = page.shape[:2]
    return Region((0, 0, width, height), cause, "put back")


def _all_strokes(page: np.ndarray, restored_page: RestoredPage) -> np.ndarray:
    """Return the strokes of the evened-out page and of a cleaned one with their blur, bool (H, W).

    The blur that deblurring takes away is wider than what stands out from grain: there all surroundings count.
    """
    if restored_page.task == "deblur":
        return near_strokes(np.minimum(restored_page.evened, page), restored_page.edge_width)
    return strokes_of_either(restored_page.evened, page, restored_page.edge_width)


def _changed(page: np.ndarray, returned: np.ndarray, box: Box) -> bool:
    """True if a pixel in a box, perhaps an empty one, of two pages differs by SEEN or more."""
    before, after = (_inside(each, box).astype(np.int32) for each in (page, returned))
    return bool(np.abs(after - before).max(initial=0) >= SEEN * np.iinfo(page.dtype).max)


def _fit_beside(page: np.ndarray, restored_page: RestoredPage) -> np.ndarray:
    """Return the evened-out page, linearly sharpened if it was deblurred, with the paper of the cleaned one; after
    `clean`, with its contrast, too.
    """
    if restored_page.task == "clean":
        return stroke_shapes.apply_tone(stroke_shapes.measure_tone(restored_page.evened, page), restored_page.evened)
    return match_paper(restored_page.given, page)


def _word_pairs(before: Reading | None, after: Reading | None, evened: np.ndarray) -> tuple[WordPair, ...]:
    """Return the pairs of words of two readings of a page; none without both readings."""
    if before is None or after is None:
        return ()
    return word_comparison.compare(before, after, cv2.convertScaleAbs(colour.luma(evened), alpha=255))


def _apart(pair: WordPair, after: Reading, evened: np.ndarray) -> tuple[WordPair, ...]:
    """Return one pair for each word of the reading after deblurring that a pair hides; else the pair.

    A pair stays whole where its box, fitted to the page, does not hold exactly its words.
    """
    if not hides_words(pair) or word_comparison.text_in(pair.box, after.words) != pair.after:
        return (pair,)
    words = tuple(word_comparison.words_in(pair.box, after.words))
    return _word_pairs(Reading((), 0.0), Reading((words,), 0.0), evened)


def _inside(mask: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return mask[top:bottom, left:right]


def _line_of(pair: WordPair, reading: Reading, shape: tuple[int, ...]) -> Box:
    """Return the box of the line of a reading that holds a word; the box of the word if there is no such line."""
    for fragment in (fragment for line in reading.lines for fragment in line):
        if holds_middle(fragment.box, pair.box):
            left, top, right, bottom = fragment.box
            return max(int(left), 0), max(int(top), 0), min(int(right) + 1, shape[1]), min(int(bottom) + 1, shape[0])
    return pair.box

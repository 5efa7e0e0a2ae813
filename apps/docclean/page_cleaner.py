"""Cleans one page and keeps its content: the networks, the guard, the words in place and the verdict on the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fastdiff.apps.docclean import colour, ink, words
from fastdiff.apps.docclean.cues import Cues
from fastdiff.apps.docclean.enhance import Enhanced, Enhancer
from fastdiff.apps.docclean.guard import Guarded, guard
from fastdiff.apps.docclean.matching import match_paper
from fastdiff.apps.docclean.ocr import Engine, Reading
from fastdiff.apps.docclean.regions import Box, Recovered, Region, mask_of, put_back
from fastdiff.apps.docclean.report import Status
from fastdiff.apps.docclean.scoring import Scorer
from fastdiff.apps.docclean.surroundings import boxes_of, near_strokes
from fastdiff.apps.docclean.words import Place

CAUSES = {"digits": "digits", "word changed": "word changed", "unsure": "word not certain"}  # of words that go back
# Widest edges, in glyph heights, of a page whose strokes are sharpened where they go back. Of 120 numbers, dates and
# codes in three held-out faces with edges 0.32, 0.40 and 0.55 wide, rapidocr read 120, 107 and 32 right on the page as
# it came, 120, 110 and 30 on what goes back unsharpened, and 120, 106 and 19 sharpened. easyocr, which reads none of
# the others, read 73, 63 and 77 of the first 120.
MILD = 0.37
NUMBERS = 60  # of which one may read otherwise: that much engines vary by themselves
UNCHECKED = "deblurred without OCR to check it: characters may have changed"
MOST_PUT_BACK = 0.5  # share of a page's strokes, and
MOST_COVERED = 0.75  # of the page, by areas; where more goes back, none of the cleaned page is kept
SEEN = 0.15  # change of a pixel, white = 1, from which a word that went back is listed: its strokes were other ones
RELIT = 0.01  # mean change of a page, white = 1, from which even light alone is worth writing


@dataclass(frozen=True)
class CleanedPage:
    """A page after cleaning: its pixels (the given ones where it was kept) and how they came to be.

    `status` is "cleaned", "partly cleaned" (some regions were put back) or "kept". `regions` are the parts whose
    content cleaning changed, `recovered` the words that can be read only on the cleaned page. `measures` are those of
    `scoring.Comparison`. `restored` and `evened` are the page by the networks alone and the evenly lit page, None for
    the tasks "none" and "binarize".
    """

    pixels: np.ndarray
    status: Status
    task: str
    task_reason: str
    reason: str | None
    calls: int
    engine: str
    note: str | None = None
    regions: tuple[Region, ...] = ()
    recovered: tuple[Recovered, ...] = ()
    measures: Mapping[str, Any] = field(default_factory=dict)
    restored: np.ndarray | None = None
    evened: np.ndarray | None = None


class PageCleaner:
    """Cleans pages by one `Enhancer` and, if there is one, by the readings of one OCR engine.

    `trust_digits` lets words with digits be rewritten, `force_clean` writes what the networks made, whatever the
    guard, the readings and the verdict find. `truth` is a folder of true texts (see `text.truth_of`).
    """

    def __init__(
        self,
        enhance: Enhancer,
        engine: Engine | None,
        *,
        trust_digits: bool = False,
        force_clean: bool = False,
        truth: Path | None = None,
    ) -> None:
        self._enhance, self._scorer = enhance, Scorer(engine, truth)
        self._trust_digits, self._force_clean = trust_digits, force_clean

    def __call__(self, pixels: np.ndarray, key: int, stem: str = "", page: int = 0) -> CleanedPage:
        """Clean a page of uint8 or uint16, grey (H, W) or RGB (H, W, 3); `key` names its noise.

        `stem` and `page` (0 is the first) name the true text. Raises as `Enhancer` does.
        """
        before = self._scorer.read(pixels)
        enhanced = self._enhance(pixels, key, before)
        if enhanced.task == "none":
            return self._judged(pixels, enhanced, Findings(pixels), (before, before), stem, page)
        if enhanced.task == "binarize":
            after = self._scorer.read(enhanced.pixels)
            return self._judged(pixels, enhanced, Findings(enhanced.pixels), (before, after), stem, page)
        found, after = self._find(enhanced, before)
        if self._force_clean:
            found = replace(found, pixels=enhanced.pixels)
        made = self._judged(pixels, enhanced, found, (before, after), stem, page)
        if made.status == "kept":
            made = self._with_even_light(made, enhanced.evened, before, stem, page)
        return replace(made, restored=enhanced.pixels, evened=enhanced.evened)

    def _with_even_light(
        self, kept: CleanedPage, evened: np.ndarray, before: Reading | None, stem: str, page: int
    ) -> CleanedPage:
        """The evened-out page in place of a kept one, where the light was uneven and the page reads as before.

        Strokes are those of the page as it came: a number that reads otherwise on it is the engine's own wavering.
        """
        if not _differ(kept.pixels, evened):
            return kept
        readings = before, self._scorer.read(evened)
        compared = self._scorer.compare(kept.pixels, evened, stem, page, readings)
        if not compared.accept:
            return kept
        height, width = evened.shape[:2]
        return replace(
            kept,
            pixels=evened,
            status="partly cleaned",
            reason=f"only its light was evened out: {kept.reason}",
            regions=(Region((0, 0, width, height), "all but the light", "put back"),),
            recovered=(),
            measures=compared.measures,
        )

    def _find(self, enhanced: Enhanced, before: Reading | None) -> tuple["Findings", Reading | None]:
        """The page with its content put back, what was put back, and the reading of that page.

        Where cleaning is forced nothing is put back: the page and the reading are those of the networks.
        """
        evened = enhanced.evened
        guarded = guard(evened, enhanced.pixels)
        page = enhanced.pixels if self._force_clean else guarded.pixels
        shown = cv2.convertScaleAbs(colour.luma(evened), alpha=255)
        if enhanced.blur is not None and enhanced.task == "clean" and not self._force_clean:
            page, whole = _with_blurred_strokes(evened, page, enhanced.blur)
            after = self._scorer.read(page)
            return self._decided(page, guarded, (whole,), _places(before, after, shown)), after
        after = self._scorer.read(page)
        places = _places(before, after, shown)
        if before is None or after is None:
            return self._decided(page, guarded, (), places), None
        back = [place for place in places if self._goes_back(place)]
        mask = mask_of([place.box for place in back], page.shape)
        edge_width = 0.0 if enhanced.blur is None else enhanced.blur.edge_width
        regions = []
        if enhanced.blur is not None:
            kept = mask_of([place.box for place in places if not self._goes_back(place)], page.shape)
            unread = near_strokes(page, edge_width, kept | mask)
            regions += [Region(box, "strokes not read", "put back") for box in boxes_of(unread, edge_width)]
            mask |= unread
        mask &= near_strokes(np.minimum(evened, page), edge_width)
        returned = put_back(page, _fit_beside(page, enhanced), mask) if mask.any() else page
        regions += [
            Region(place.box, CAUSES[place.judgement], "put back", place.texts)
            for place in back
            if _changed(page, returned, place.box)
        ]
        recovered = tuple(Recovered(place.box, place.after) for place in places if place.judgement == "recovered")
        found = self._decided(page, guarded, regions, places, recovered)
        if self._force_clean or not mask.any():
            return found, after
        found = replace(found, pixels=returned)
        return self._with_lines_back(found, enhanced, before, shown)

    def _with_lines_back(
        self, found: "Findings", enhanced: Enhanced, before: Reading, shown: np.ndarray
    ) -> tuple["Findings", Reading | None]:
        """Puts back whole lines in which a number reads otherwise although it went back; the page and its reading.

        Engines read a line at a time: a number is read with what stands beside it.
        """
        after = self._scorer.read(found.pixels)
        if after is None or self._trust_digits:
            return found, after
        found = replace(found, places=_places(before, after, shown))
        boxes = sorted({_line_of(place, before, shown.shape) for place in found.places if place.number_lost})
        if not boxes:
            return found, after
        mask = mask_of(boxes, shown.shape)
        page = put_back(found.pixels, _fit_beside(found.pixels, replace(enhanced, blur=None)), mask)
        lines = (Region(box, "line with a number that read otherwise", "put back") for box in boxes)
        recovered = tuple(word for word in found.recovered if not _inside(mask, word.box).any())
        after = self._scorer.read(page)
        found = replace(found, pixels=page, regions=(*found.regions, *lines), recovered=recovered)
        return replace(found, places=_places(before, after, shown)), after

    def _decided(
        self,
        page: np.ndarray,
        guarded: Guarded,
        regions: Sequence[Region],
        places: tuple[Place, ...],
        recovered: tuple[Recovered, ...] = (),
    ) -> "Findings":
        found = (*guarded.regions, *regions)
        if self._force_clean:
            return Findings(page, tuple(replace(each, decision="left") for each in found), recovered, places)
        return Findings(page, found, recovered, places, guarded.share, guarded.cover)

    def _goes_back(self, place: Place) -> bool:
        if place.judgement == "digits":
            return not self._trust_digits
        return place.judgement in CAUSES

    def _judged(
        self,
        pixels: np.ndarray,
        enhanced: Enhanced,
        found: "Findings",
        readings: tuple[Reading | None, Reading | None],
        stem: str,
        page: int,
    ) -> CleanedPage:
        """The page to keep: the found one, or the given one where the verdict or the share put back says so."""
        compared = self._scorer.compare(pixels, found.pixels, stem, page, readings)
        status: Status = "partly cleaned" if any(each.decision == "put back" for each in found.regions) else "cleaned"
        reason = UNCHECKED if enhanced.task == "deblur" and readings[1] is None else None
        numbers = None if self._trust_digits else numbers_lost(found.places)
        if enhanced.task == "none":
            status, reason = "kept", "already clean"
        elif not compared.accept:
            status, reason = "kept", compared.reason
        elif numbers is not None:
            status, reason = "kept", numbers
        elif found.share > MOST_PUT_BACK:
            status, reason = "kept", f"{found.share:.0%} of its strokes would have changed"
        elif found.cover > MOST_COVERED:
            status, reason = "kept", f"{found.cover:.0%} of it would have changed"
        if status == "kept" and self._force_clean and enhanced.task != "none":
            status = "cleaned"
        return CleanedPage(
            pixels if status == "kept" else found.pixels,
            status,
            enhanced.task,
            enhanced.task_reason,
            reason,
            enhanced.calls,
            compared.engine,
            compared.note,
            found.regions,
            found.recovered,
            compared.measures,
        )


def _with_blurred_strokes(evened: np.ndarray, cleaned: np.ndarray, blur: Cues) -> tuple[np.ndarray, Region]:
    """The cleaned paper with the strokes of the evened-out page, which the network for sharp pages would break up.

    Their paper is not matched: rapidocr reads 0.947 of the words of a blurred sample page so, and 0.920 matched.
    """
    mask = near_strokes(np.minimum(evened, cleaned), blur.edge_width)
    height, width = mask.shape
    region = Region((0, 0, width, height), "blurred strokes, which the page keeps", "put back")
    return put_back(cleaned, evened, mask), region


def _changed(page: np.ndarray, returned: np.ndarray, box: Box) -> bool:
    """Whether a pixel in a box, perhaps an empty one, of two pages differs by SEEN or more."""
    before, after = (_inside(each, box).astype(np.int32) for each in (page, returned))
    return bool(np.abs(after - before).max(initial=0) >= SEEN * np.iinfo(page.dtype).max)


def _fit_beside(page: np.ndarray, enhanced: Enhanced) -> np.ndarray:
    """The evened-out page with the paper of the cleaned one and, unless deblurring made it sharp, with its contrast."""
    if enhanced.task == "clean":
        return ink.apply(ink.measure(enhanced.evened, page), enhanced.evened)
    return match_paper(enhanced.evened, page, _sharpened(enhanced.blur))


def numbers_lost(places: Sequence[Place]) -> str | None:
    """A sentence if more than one in NUMBERS of the words with digits that were surely read reads otherwise."""
    sure = sum(place.number for place in places)
    lost = sum(place.number_lost for place in places)
    return f"{lost} of {sure} numbers would read otherwise" if lost > max(1, sure / NUMBERS) else None


def _differ(pixels: np.ndarray, evened: np.ndarray) -> bool:
    """Whether the mean change from one page to the other is RELIT or more."""
    return float(cv2.absdiff(pixels, evened).mean()) >= RELIT * np.iinfo(pixels.dtype).max


def _places(before: Reading | None, after: Reading | None, shown: np.ndarray) -> tuple[Place, ...]:
    """The places of two readings of a page; none without both."""
    return () if before is None or after is None else words.compare(before, after, shown)


def _inside(mask: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return mask[top:bottom, left:right]


def _line_of(place: Place, reading: Reading, shape: tuple[int, ...]) -> Box:
    """The box of the line of a reading in which a place lies; of the place itself where there is none."""
    middle = (place.box[1] + place.box[3]) / 2
    across = (place.box[0] + place.box[2]) / 2
    for fragment in (fragment for line in reading.lines for fragment in line):
        left, top, right, bottom = fragment.box
        if left <= across <= right and top <= middle <= bottom:
            return max(int(left), 0), max(int(top), 0), min(int(right) + 1, shape[1]), min(int(bottom) + 1, shape[0])
    return place.box


@dataclass(frozen=True)
class Findings:
    """A page with its content put back, the regions, the recovered words, and the shares of `Guarded`.

    `places` are those of the page as it came and of this page, as far as both were read.
    """

    pixels: np.ndarray
    regions: tuple[Region, ...] = ()
    recovered: tuple[Recovered, ...] = ()
    places: tuple[Place, ...] = ()
    share: float = 0.0
    cover: float = 0.0


def _sharpened(blur: Cues | None) -> float:
    """The width of edges, in pixels, that strokes which go back are sharpened for; 0 where they are not."""
    return blur.edge_width if blur is not None and blur.edge_width <= MILD * blur.glyph_height else 0.0

"""Words that docclean marks as ambiguous on deblurred pages: how many of the wrong characters lie in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.docclean import blurred
from benchmarks.docclean.application import ENGINES, CachingPageRestorer, Setup, cached_engine
from benchmarks.docclean.blur import hard_enough
from benchmarks.docclean.blurred import Blurred
from benchmarks.docclean.words_lost import JUDGE
from benchmarks.result import Cell, Section, Table
from fastdiff.apps.docclean.content_protection import AMBIGUOUS
from fastdiff.apps.docclean.imaging.regions import mask_of
from fastdiff.apps.docclean.ocr.engines import Fragment, Reading
from fastdiff.apps.docclean.ocr.text_metrics import standard
from fastdiff.apps.docclean.ocr.word_comparison import overlap
from fastdiff.apps.docclean.page_cleaner import CleanedPage, PageCleaner

Row = dict[str, Any]


@dataclass(frozen=True)
class JudgedWord:
    """A word that the judge read on a written page.

    `wrong` counts its wrong characters. `misread` is True if the judge reads it the same on the sharp page, `marked` if
    docclean marks it as ambiguous.
    """

    text: str
    wrong: int
    misread: bool
    marked: bool


def run(setup: Setup) -> Section:
    restore = CachingPageRestorer(task="deblur", weights=setup.weights)
    cleaners = {engine: PageCleaner(restore, cached_engine(engine)) for engine in ENGINES}
    rows = []
    for key, page in enumerate(blurred.make(setup)):
        if page.sharp.column and hard_enough(page, JUDGE):
            rows += [_measured(page, engine, clean(page.pixels, key)) for engine, clean in cleaners.items()]
    return Section([table(rows)], rows)


def table(rows: list[Row]) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for engine in dict.fromkeys(row["gate"] for row in rows):
        mine = [row for row in rows if row["gate"] == engine]
        total = {name: sum(row[name] for row in mine) for name in mine[0] if name not in ("page", "gate")}
        lines.append((
            engine,
            len(mine),
            total["wrong"],
            total["wrong marked"] / max(total["wrong"], 1),
            total["blurred"],
            total["blurred marked"] / max(total["blurred"], 1),
            total["right words marked"] / max(total["right words"], 1),
        ))  # fmt: skip
    return Table(
        f"Ambiguous words of deblurred columns, read by {JUDGE}",
        ("gate", "pages", "wrong", "of them marked", "not on sharp", "of them marked", "right words marked"),
        lines,
        "wrong: characters that are not in the truth, or lack beside the word; not on sharp: those in words that the "
        "judge does not read the same on the sharp page",
    )


def _measured(page: Blurred, engine: str, cleaned: CleanedPage) -> Row:
    words = judged(page, cleaned, cached_engine(JUDGE).read(cleaned.pixels))
    blur = [word for word in words if not word.misread]
    right = [word for word in words if not word.wrong]
    return {
        "page": page.name,
        "gate": engine,
        "wrong": sum(word.wrong for word in words),
        "wrong marked": sum(word.wrong for word in words if word.marked),
        "blurred": sum(word.wrong for word in blur),
        "blurred marked": sum(word.wrong for word in blur if word.marked),
        "right words": len(right),
        "right words marked": sum(word.marked for word in right),
    }


def judged(page: Blurred, cleaned: CleanedPage, reading: Reading) -> list[JudgedWord]:
    """Return the words of a reading of a written page, each with its wrong characters and its marks."""
    unsure = (each for each in cleaned.regions if each.cause == AMBIGUOUS and each.decision == "left")
    mask = mask_of((region.box for region in unsure), page.pixels.shape)
    sharp = cached_engine(JUDGE).read(page.sharp.pixels).words
    same_place = overlap(reading.words, sharp)
    wrong = wrong_characters(page.sharp.text, [word.text for word in reading.words])
    found = []
    for index, word in enumerate(reading.words):
        there = [sharp[other].text for other in np.flatnonzero(same_place[index])]
        misread = standard(word.text) in map(standard, there)
        found.append(JudgedWord(word.text, wrong[index], misread, _is_marked(mask, word)))
    return found


def wrong_characters(truth: str, read: Sequence[str]) -> list[int]:
    """Return the wrong characters of each word of a reading: substituted, inserted, or lacking at its place.

    A blank that is wrong counts for the word before it.
    """
    import jiwer

    words = [standard(word) for word in read]
    text = " ".join(words)
    owners = np.repeat(np.arange(len(words)), [len(word) + 1 for word in words])  # of each character and its blank
    wrong = np.zeros(len(words), np.int64)
    if text:
        for chunk in jiwer.process_characters(standard(truth), text).alignments[0]:
            if chunk.type in ("substitute", "insert"):
                np.add.at(wrong, owners[chunk.hyp_start_idx : chunk.hyp_end_idx], 1)
            elif chunk.type == "delete":
                wrong[owners[min(chunk.hyp_start_idx, len(text) - 1)]] += chunk.ref_end_idx - chunk.ref_start_idx
    return [int(each) for each in wrong]


def _is_marked(mask: np.ndarray, word: Fragment) -> bool:
    """True if the middle of a word lies in the mask."""
    left, top, right, bottom = word.box
    row, column = round((top + bottom) / 2), round((left + right) / 2)
    return bool(mask[min(row, mask.shape[0] - 1), min(column, mask.shape[1] - 1)])

"""Words of deblurred pages that are ambiguous or went back: how many of the wrong characters lie in them."""

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
from fastdiff.apps.docclean.imaging.regions import Region
from fastdiff.apps.docclean.ocr.engines import Fragment, Reading
from fastdiff.apps.docclean.ocr.text_metrics import standard
from fastdiff.apps.docclean.ocr.word_comparison import overlap
from fastdiff.apps.docclean.ocr.word_decisions import AMBIGUOUS
from fastdiff.apps.docclean.page_cleaner import CleanedPage, PageCleaner

Row = dict[str, Any]


@dataclass(frozen=True)
class JudgedWord:
    """A word that the judge read on a written page.

    `wrong` counts its wrong characters. `same_on_sharp` is True if the judge reads it the same on the sharp page,
    `unsure` if the report calls it ambiguous or put back.
    """

    wrong: int
    same_on_sharp: bool
    unsure: bool


def run(setup: Setup) -> Section:
    restore = CachingPageRestorer(task="deblur", weights=setup.weights)
    cleaners = {engine: PageCleaner(restore, cached_engine(engine)) for engine in ENGINES}
    rows = []
    for key, page in enumerate(blurred.make(setup)):
        if page.sharp.column and hard_enough(page, JUDGE):
            cleaned = {engine: clean(page.pixels, key) for engine, clean in cleaners.items()}
            rows += [_measured(page, engine, each) for engine, each in cleaned.items() if each.status != "kept"]
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
            total["wrong unsure"] / max(total["wrong"], 1),
            total["by blur"],
            total["by blur unsure"] / max(total["by blur"], 1),
            total["right words unsure"] / max(total["right words"], 1),
        ))  # fmt: skip
    return Table(
        f"Unsure words of deblurred columns, read by {JUDGE}",
        ("gate", "pages", "wrong", "unsure", "by blur", "by blur, unsure", "right words unsure"),
        lines,
        "wrong: characters that are not in the truth, or lack beside the word; by blur: those in words that the judge "
        "does not read the same on the sharp page; unsure: shares in words that are ambiguous or went back",
    )


def _measured(page: Blurred, engine: str, cleaned: CleanedPage) -> Row:
    words = judge_words(page, cleaned, cached_engine(JUDGE).read(cleaned.pixels))
    by_blur = [word for word in words if not word.same_on_sharp]
    right = [word for word in words if not word.wrong]
    return {
        "page": page.name,
        "gate": engine,
        "wrong": sum(word.wrong for word in words),
        "wrong unsure": sum(word.wrong for word in words if word.unsure),
        "by blur": sum(word.wrong for word in by_blur),
        "by blur unsure": sum(word.wrong for word in by_blur if word.unsure),
        "right words": len(right),
        "right words unsure": sum(word.unsure for word in right),
    }


def judge_words(page: Blurred, cleaned: CleanedPage, reading: Reading) -> list[JudgedWord]:
    """Return the words of a reading of a written page, each with its wrong characters."""
    words = [Fragment("", 0, region.box) for region in cleaned.regions if _is_unsure(region)]
    sharp = cached_engine(JUDGE).read(page.sharp.pixels).words
    unsure = overlap(reading.words, words)
    same_place = overlap(reading.words, sharp)
    wrong = wrong_characters(page.sharp.text, [word.text for word in reading.words])
    found = []
    for index, word in enumerate(reading.words):
        there = [standard(sharp[other].text) for other in np.flatnonzero(same_place[index])]
        found.append(JudgedWord(wrong[index], standard(word.text) in there, bool(unsure[index].any())))
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


def _is_unsure(region: Region) -> bool:
    return region.cause == AMBIGUOUS or (region.text is not None and region.decision == "put back")

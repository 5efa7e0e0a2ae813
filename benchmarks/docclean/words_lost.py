"""Words of blurred real documents that RapidOCR reads right before cleaning and no longer after it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.docclean.application import CachingPageRestorer, Setup, cached_engine
from benchmarks.docclean.blurred import Blurred
from benchmarks.result import Cell, Table
from fastdiff.apps.docclean.ocr import text_metrics
from fastdiff.apps.docclean.page_cleaner import PageCleaner

JUDGE = "rapidocr"

Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A task, the engine of the gate, and True for --force-clean, which writes the result without a gate."""

    task: str
    engine: str
    forced: bool = False

    def __str__(self) -> str:
        return f"{self.task}, {'--force-clean' if self.forced else f'gate {self.engine}'}"


METHODS = (
    Method("deblur", "rapidocr", forced=True),
    Method("deblur", "rapidocr"),
    Method("auto", "rapidocr"),
    Method("auto", "easyocr"),
)


def measure(setup: Setup, documents: Sequence[Blurred]) -> list[Row]:
    """Return a row for every document and method; errors are 1 - order-free word F."""
    tasks = {method.task for method in METHODS}
    page_restorers = {task: CachingPageRestorer(task=task, weights=setup.weights) for task in tasks}
    cleaners = {
        method: PageCleaner(page_restorers[method.task], cached_engine(method.engine), force_clean=method.forced)
        for method in METHODS
    }
    rows = []
    for key, page in enumerate(documents):
        for method, clean in cleaners.items():
            cleaned = clean(page.pixels, key)
            about = {"page": page.name, "way": str(method), "status": cleaned.status, "task": cleaned.task}
            rows.append(about | _measured(page, cleaned.pixels))
    return rows


def table(rows: list[Row]) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for method in dict.fromkeys(row["way"] for row in rows):
        mine = [row for row in rows if row["way"] == method]
        before, after = (float(np.mean([row[name] for row in mine])) for name in ("blurred", "after"))
        kept = sum(row["status"] == "kept" for row in mine)
        right, lost, gained, digits, worse = (
            sum(row[name] for row in mine) for name in ("right", "lost", "gained", "digits", "digits lost")
        )
        lines.append((method, len(mine), before, after, after / before, lost / max(right, 1), gained / max(right, 1),
                      f"{worse}/{digits}", kept))  # fmt: skip
    return Table(
        "Blur: real documents, read by RapidOCR",
        ("task, gate", "pages", "blurred", "after", "after/before", "lost", "gained", "digits lost", "kept"),
        lines,
        "blurred, after: mean 1 - word F; lost, gained: words of the truth that only one of them has, as a share of "
        "those read before; digits lost: of words with digits that were read before",
    )


def numbers_read(truth: str, read: str) -> tuple[int, int]:
    """Return how many words of the truth with digits were read, wherever they stand, and how many it has."""
    found, printed = (_with_digits(_right(truth, each)) for each in (read, truth))
    return found.total(), printed.total()


def _measured(page: Blurred, pixels: np.ndarray) -> Row:
    readings = [cached_engine(JUDGE).read(each).text for each in (page.pixels, pixels)]
    before, after = (_right(page.sharp.text, read) for read in readings)
    lost, digits = before - after, _with_digits(before)
    return {
        "blurred": page.sharp.error(readings[0]),
        "after": page.sharp.error(readings[1]),
        "right": before.total(),
        "lost": lost.total(),
        "gained": (after - before).total(),
        "digits": digits.total(),
        "digits lost": (digits - after).total(),
        "digits lost, which": sorted((digits - after).elements()),
    }


def _right(truth: str, read: str) -> Counter[str]:
    """Return the words of the truth that were read, wherever they stand."""
    wanted, found = (Counter(text_metrics.standard(each).split()) for each in (truth, read))
    return wanted & found


def _with_digits(words: Counter[str]) -> Counter[str]:
    return Counter({word: count for word, count in words.items() if any(letter.isdigit() for letter in word)})

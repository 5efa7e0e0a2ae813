"""Predictors for blurred text: the bundled one and that of --weights, each alone, in pairs of the same pages."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from benchmarks.bootstrap import Interval, paired_difference
from benchmarks.docclean import blurred
from benchmarks.docclean.application import ENGINES, Setup, cached_engine
from benchmarks.docclean.blur import hard_enough
from benchmarks.docclean.blurred import KINDS, SEED, Blurred
from benchmarks.docclean.pages import TextPage
from benchmarks.docclean.trust.pages import render
from benchmarks.docclean.words_lost import JUDGE, numbers_read
from benchmarks.result import Cell, Section, Table
from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer
from fastdiff.training.docclean.column import held_out_faces

TABLES = 12
TABLE_KINDS = ("numbers", "codes")  # of the section "trust"

Row = dict[str, Any]


def run(setup: Setup) -> Section:
    files = {"bundled": None} | ({} if setup.weights is None else {"own": setup.weights})
    predictors = {name: PageRestorer(task="deblur", calls=0, weights=file) for name, file in files.items()}
    rows = []
    for key, (group, page) in enumerate(make(setup)):
        for name, restore in predictors.items():
            restored = restore(page.pixels, key).pixels
            rows += [{"weights": name, "group": group} | measure(page, restored, judge) for judge in ENGINES]
    return Section([table(rows)], rows)


def make(setup: Setup) -> Iterator[tuple[str, Blurred]]:
    """Yield columns, documents and tables of numbers that blur made hard to read, with the group of each."""
    for page in blurred.make(setup):
        if hard_enough(page, JUDGE):
            yield "columns" if page.sharp.column else "documents", page
    families = held_out_faces()
    for index in range(setup.count(TABLES)):
        rng = np.random.default_rng([SEED, index])
        known = render(rng, TABLE_KINDS[index % len(TABLE_KINDS)], families[index % len(families)])
        text = "\n".join(word.text for word in known.words)
        sharp = TextPage(f"{known.kind} {index}", cv2.cvtColor(known.pixels, cv2.COLOR_RGB2GRAY), text, column=False)
        yield "tables of numbers", blurred.blur(rng, sharp, KINDS[index // len(TABLE_KINDS) % len(KINDS)])


def measure(page: Blurred, restored: np.ndarray, judge: str) -> Row:
    """Return the error of one judge on a restored page, and the numbers of the truth that it reads."""
    text = cached_engine(judge).read(restored).text
    read, printed = numbers_read(page.sharp.text, text)
    return {"page": page.name, "judge": judge, "error": page.sharp.error(text), "numbers": read, "printed": printed}


def table(rows: list[Row]) -> Table:
    """Compare all weights with the bundled ones."""
    lines: list[tuple[Cell, ...]] = []
    for judge, group, weights in dict.fromkeys((row["judge"], row["group"], row["weights"]) for row in rows):
        mine, bundled = (
            [row for row in rows if (row["judge"], row["group"], row["weights"]) == (judge, group, name)]
            for name in (weights, "bundled")
        )
        error, numbers = (
            [np.array([row[name] for row in each]) for each in (bundled, mine)] for name in ("error", "numbers")
        )
        lines.append((
            f"{judge}, {group}, {weights}",
            len(mine),
            float(error[1].mean()),
            _interval(paired_difference(error[0], error[1]), 4),
            f"{numbers[1].sum()}/{sum(row['printed'] for row in mine)}",
            _interval(paired_difference(numbers[0], numbers[1]), 2),
        ))  # fmt: skip
    return Table(
        "Predictors for blurred text, without a denoiser: what two judges read of the restored pages",
        ("judge, pages, weights", "pages", "error", "change", "numbers read", "change a page"),
        lines,
        "error: CER of columns, 1 - word F elsewhere; change: from the bundled weights, with the 95 % interval",
    )


def _interval(change: Interval, digits: int) -> str:
    return f"{change.mean:+.{digits}f} [{change.low:+.{digits}f}, {change.high:+.{digits}f}]"

"""Tests that only noise goes: rendered pages whose words, colours, pictures, lines and paper are known.

Pages are cleaned with default options, one engine serving the gate and the other judging, and with --force-clean. A
word is lost if the judge reads it right on the given page and no longer on the result. Engines vary from run to run:
the control counts the words that the judge loses on the evened truth, on which only the dirt is missing.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from benchmarks.docclean.application import CachingPageRestorer, Setup, cached_engine
from benchmarks.docclean.trust import measures, report
from benchmarks.docclean.trust.dirt import GREY, STRENGTHS, DirtyPage, make_dirty_page
from benchmarks.docclean.trust.pages import KINDS, render
from benchmarks.docclean.trust.report import FORCED, RELIT
from benchmarks.result import Section, Strip
from fastdiff.apps.docclean.page_cleaner import CleanedPage, PageCleaner
from fastdiff.training.docclean import textures
from fastdiff.training.docclean.column import held_out_faces

PAGES = 12  # of each kind, the strengths in turn
SEED = 172_024
METHODS = ("gate easyocr", "gate rapidocr", FORCED)
ENGINE = {"gate easyocr": "easyocr", "gate rapidocr": "rapidocr", FORCED: "rapidocr"}
JUDGE = {"gate easyocr": "rapidocr", "gate rapidocr": "easyocr", FORCED: "rapidocr"}  # no gate if forced
WORKERS = 2  # processes of one thread, each with the models of both engines
SHOWN = "gate easyocr"  # the default, on the sheet

Row = dict[str, Any]


def run(setup: Setup) -> Section:
    """Measure every page, WORKERS at a time; the sheet shows the worst of each kind and strength."""
    rows: list[Row] = []
    worst: dict[tuple[str, str], Strip] = {}
    pages = range(len(KINDS) * setup.count(PAGES))
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for mine, strip in pool.map(partial(measure_page, setup), pages):
            rows += mine
            place = mine[0]["kind"], mine[0]["strength"]
            if place not in worst or strip.score < worst[place].score:
                worst[place] = strip
    shown = sorted(worst.values(), key=lambda strip: strip.name)
    return Section(report.tables(rows), rows, shown, sheet=shown)


def measure_page(setup: Setup, index: int) -> tuple[list[Row], Strip]:
    return measure(make(index), index, make_cleaners(setup))


@cache
def make_cleaners(setup: Setup) -> dict[str, PageCleaner]:
    restore = CachingPageRestorer(weights=setup.weights)
    return {
        method: PageCleaner(restore, cached_engine(ENGINE[method]), force_clean=method == FORCED) for method in METHODS
    }


def measure(page: DirtyPage, index: int, cleaners: dict[str, PageCleaner]) -> tuple[list[Row], Strip]:
    """Return a row for the page under even light and for every method, and a strip of the method SHOWN."""
    rows = [_row(page, RELIT) | _looks(page, page.relit, page.relit)]
    for method, clean in cleaners.items():
        cleaned = clean(page.pixels, index)
        about = {"status": cleaned.status, "task": cleaned.task, "reason": cleaned.reason}
        shown = page.relit if cleaned.status == "kept" else cleaned.pixels
        looks = _looks(page, shown, cleaned.pixels)
        rows.append(_row(page, method) | about | looks | _words(page, cleaned, cached_engine(JUDGE[method])))
        if method == SHOWN:
            title = f"{page.name} ({index}): {cleaned.status}, {_shares(rows[-1])}"
            strip = Strip(title, report.score(rows[-1]), (page.pixels, cleaned.pixels, page.evened))
    return rows, strip


def make(index: int) -> DirtyPage:
    """Make page `index` of the section: kinds in turn, then strengths, then families of fonts."""
    rng, families = np.random.default_rng([SEED, index]), held_out_faces()
    kinds = list(KINDS)
    kind, turn = kinds[index % len(kinds)], index // len(kinds)
    strength = STRENGTHS[turn % len(STRENGTHS)]
    family = families[(turn // len(STRENGTHS) + index) % len(families)]
    known = render(rng, kind, family)
    back = render(rng, "stamps and ink", family)
    grey = kind in GREY and turn // len(STRENGTHS) % 2 == 0
    return make_dirty_page(rng, known, back, textures.cached_bank(SEED), strength, grey)


def _row(page: DirtyPage, method: str) -> Row:
    return {"kind": page.known.kind, "strength": page.strength, "way": method, "page": page.name}


def _looks(page: DirtyPage, shown: np.ndarray, pixels: np.ndarray) -> Row:
    """Measure colours, pictures, fine lines and pencil of `shown`, as counts or SSIM, and the dirt of `pixels`.

    They differ for a page that was kept: its content is untouched, and `shown` has its light undone.
    """
    outside = ~measures.content(page.known)
    kept = {
        "colours": measures.colours_kept(shown, page.evened),
        "hair lines": measures.strokes_kept(shown, page.evened, page.known.hair_lines),
        "pencil": measures.strokes_kept(shown, page.evened, page.known.pencil),
    }
    return kept | {
        "pictures": [measures.similarity(shown, page.evened, box) for box in page.known.pictures],
        "dirt before": measures.squared_error(page.pixels, page.evened, outside),
        "dirt": measures.squared_error(pixels, page.evened, outside),
    }


def _words(page: DirtyPage, cleaned: CleanedPage, judge: Any) -> Row:
    """Return how many words the judge reads right before, loses and gains, and how many are recovered, or wrongly."""
    words = [word for word in page.known.words if measures.judged(word)]
    versions = page.pixels, cleaned.pixels, page.evened
    before, after, truth = (measures.read_right(words, judge.read(pixels)) for pixels in versions)
    wrong = [each for each in cleaned.recovered if not measures.is_true(each.text, each.box, page.known.words)]
    return {
        "words": len(words),
        "read": int(before.sum()),
        "lost": int((before & ~after).sum()),
        "lost by control": int((before & ~truth).sum()),
        "lost beyond control": int((before & truth & ~after).sum()),
        "gained": int((after & ~before).sum()),
        "lost words": [word.text for word, gone in zip(words, before & ~after, strict=True) if gone],
        "recovered": len(cleaned.recovered),
        "recovered wrong": len(wrong),
        "wrong words": [each.text for each in wrong],
    }


def _shares(row: Row) -> str:
    """Return the shares of a page that are printed above it."""
    parts = [f"{row['lost']} of {row['read']} words lost"]
    parts += [f"{name} {kept / all_:.0%}" for name in report.SHARES for kept, all_ in [row[name]] if all_]
    parts += [f"SSIM {min(row['pictures']):.2f}"] if row["pictures"] else []
    return ", ".join([*parts, f"dirt gone {report.removed([row]):.0%}"])

"""Pages that need no cleaning: the text that cleaning loses on them."""

from collections.abc import Iterator
from typing import Any

from benchmarks.docclean import pages
from benchmarks.docclean.application import ENGINES, CachingPageRestorer, Setup, cached_engine
from benchmarks.docclean.pages import TextPage
from benchmarks.result import Cell, Section, Strip, Table, mean
from fastdiff.apps.docclean.ocr import text_metrics
from fastdiff.apps.docclean.page_cleaner import PageCleaner

RENDERED = 30
HEIGHTS = (14.0, 28.0)  # median glyph height in pixels
SEED = 9_404
WORST = 0.005  # of word F that a page may lose
GROUPS = ("documents", "clean noisyoffice", "rendered")


def run(setup: Setup) -> Section:
    restore = CachingPageRestorer(task="auto", weights=setup.weights)
    cleaners = {engine: PageCleaner(restore, cached_engine(engine)) for engine in ENGINES}
    rows: list[dict[str, Any]] = []
    strips = []
    for key, (group, page) in enumerate(_pages(setup)):
        for engine, clean in cleaners.items():
            cleaned = clean(page.pixels, key)
            forced = page.pixels if cleaned.restored is None else cleaned.restored
            versions = {"before": page.pixels, "after": forced, "gated": cleaned.pixels}
            read = {name: cached_engine(engine).read(pixels).text for name, pixels in versions.items()}
            truth = page.text or read["before"]
            f = {name: text_metrics.word_score(truth, each).f for name, each in read.items()}
            lost = {"loss": f["before"] - f["after"], "loss gated": f["before"] - f["gated"]}
            about = {"page": page.name, "group": group, "engine": engine, "task": cleaned.task}
            rows.append(about | {"kept": cleaned.status == "kept"} | f | lost)
            strips.append(Strip(f"{page.name}, {cleaned.task}", -lost["loss gated"], (page.pixels, cleaned.pixels)))
    return Section([_table(rows)], rows, strips)


def _pages(setup: Setup) -> Iterator[tuple[str, TextPage]]:
    for page in pages.documents(setup.data, setup.limit):
        yield "documents", page
    for pair in pages.clean_noisyoffice(setup.data, setup.limit):
        yield "clean noisyoffice", TextPage(pair.name, pair.pixels, text="", column=False)
    for page in pages.rendered(setup.count(RENDERED), HEIGHTS, SEED):
        yield "rendered", page


def _table(rows: list[dict[str, Any]]) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for engine in ENGINES:
        for group in GROUPS:
            mine = [row for row in rows if (row["engine"], row["group"]) == (engine, group)]
            means = (mean(mine, name) for name in ("before", "after", "gated"))
            worst = (max(row[name] for row in mine) for name in ("loss", "loss gated"))
            harmed = (sum(row[name] > WORST for row in mine) for name in ("loss", "loss gated"))
            deblurred, kept = sum(row["task"] == "deblur" for row in mine), sum(row["kept"] for row in mine)
            lines.append((f"{engine}, {group}", len(mine), *means, *worst, *harmed, deblurred, kept))
    columns = ("before", "forced", "after", "worst loss forced", "after", "harmed forced", "after", "deblurred", "kept")
    return Table(
        "No harm: order-free word F of pages that need no cleaning (--task auto)",
        ("engine, pages", "pages", *columns),
        lines,
        "harmed: lost more than 0.5 point; clean noisyoffice pages have no text: their truth is the reading before",
    )

"""Pages that need no cleaning: what cleaning takes from them."""

from collections.abc import Iterator
from typing import Any

from benchmarks.docclean import pages
from benchmarks.docclean.application import ENGINES, Judge, Setup, reader
from benchmarks.docclean.pages import TextPage
from benchmarks.result import Cell, Section, Strip, Table, mean
from fastdiff.apps.docclean import text

RENDERED = 30
HEIGHTS = (14.0, 28.0)  # median glyph height in pixels
SEED = 9_404
WORST = 0.005  # of word F that a page may lose
GROUPS = ("documents", "clean noisyoffice", "rendered")


def run(setup: Setup) -> Section:
    enhance = setup.enhancer("auto")
    rows: list[dict[str, Any]] = []
    strips = []
    for key, (group, page) in enumerate(_pages(setup)):
        enhanced = enhance(page.pixels, key)
        for engine in ENGINES:
            kept = not Judge(reader(engine)).accepts(page.pixels, enhanced.pixels)
            before, after = (reader(engine).read(pixels).text for pixels in (page.pixels, enhanced.pixels))
            truth = page.text or before
            f = {"before": text.words(truth, before).f, "after": text.words(truth, after).f}
            gated = f["before" if kept else "after"]
            rows.append(
                {"page": page.name, "group": group, "engine": engine, "task": enhanced.task, "kept": kept}
                | f
                | {"gated": gated, "loss": f["before"] - f["after"], "loss gated": f["before"] - gated}
            )
        loss = max(row["loss"] for row in rows[-len(ENGINES) :])
        strips.append(Strip(f"{page.name}, {enhanced.task}", -loss, (page.pixels, enhanced.pixels)))
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
    columns = ("before", "after", "gated", "worst loss", "gated", "harmed", "gated", "deblurred", "kept")
    return Table(
        "No harm: order-free word F of pages that need no cleaning (--task auto)",
        ("engine, pages", "pages", *columns),
        lines,
        "harmed: lost more than 0.5 point; clean noisyoffice pages have no text: their truth is the reading before",
    )

"""Blurred text: OCR errors before and after cleaning, against controls that clean nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.bootstrap import paired_difference
from benchmarks.classical import CONTROLS
from benchmarks.docclean import blurred, words_lost
from benchmarks.docclean.application import ENGINES, CachingPageRestorer, Setup, cached_engine
from benchmarks.docclean.blurred import Blurred
from benchmarks.result import Cell, Section, Strip, Table, mean
from fastdiff.apps.docclean.page_cleaner import CleanedPage, PageCleaner

KEPT_ERRORS = (0.10, 0.60)  # of the engine on the blurred page: neither easy nor lost
TASKS = ("deblur", "auto")
GROUPS = {"columns": True, "documents": False}


def run(setup: Setup) -> Section:
    page_restorers = {task: CachingPageRestorer(task=task, weights=setup.weights) for task in TASKS}
    cleaners = {
        (task, engine): PageCleaner(page_restorers[task], cached_engine(engine)) for task in TASKS for engine in ENGINES
    }
    rows: list[dict[str, Any]] = []
    strips = []
    made = blurred.make(setup)
    documents = [page for page in made if not page.sharp.column and hard_enough(page, words_lost.JUDGE)]
    lost = words_lost.measure(setup, documents)
    for key, page in enumerate(made):
        engines = [engine for engine in ENGINES if hard_enough(page, engine)]
        if engines:
            cleaned = {which: clean(page.pixels, key) for which, clean in cleaners.items() if which[1] in engines}
            measured = [_measured(page, engine, {task: cleaned[task, engine] for task in TASKS}) for engine in engines]
            rows += measured
            gain = np.mean([row["blurred"] - row["auto gated"] for row in measured])
            shown = cleaned["auto", engines[0]].pixels
            strips.append(Strip(page.name, float(gain), (page.pixels, shown, page.sharp.pixels)))
    return Section([_errors(rows), _gains(rows), words_lost.table(lost)], rows + lost, strips)


def hard_enough(page: Blurred, engine: str) -> bool:
    """True if the engine's own error on the blurred page lies within KEPT_ERRORS."""
    low, high = KEPT_ERRORS
    return low <= page.sharp.error(cached_engine(engine).read(page.pixels).text) <= high


def _measured(page: Blurred, engine: str, cleaned: Mapping[str, CleanedPage]) -> dict[str, Any]:
    """Return the errors of one engine on one page: for each task those of the networks alone, and, ending in "gated",
    those of the written page.
    """
    versions = {"sharp": page.sharp.pixels, "blurred": page.pixels}
    versions |= {name: control(page.pixels) for name, control in CONTROLS.items()}
    for task, each in cleaned.items():
        versions |= {task: page.pixels if each.restored is None else each.restored, f"{task} gated": each.pixels}
    errors = {name: page.sharp.error(cached_engine(engine).read(pixels).text) for name, pixels in versions.items()}
    about = {"page": page.name, "engine": engine, "column": page.sharp.column, "kind": page.kind}
    kept = {f"{task} kept": each.status == "kept" for task, each in cleaned.items()}
    return about | errors | kept | {"chosen": cleaned["auto"].task}


def _errors(rows: list[dict[str, Any]]) -> Table:
    methods = ("sharp", "blurred", *CONTROLS, *TASKS, *(f"{task} gated" for task in TASKS))
    lines: list[tuple[Cell, ...]] = []
    for engine, group, mine in _groups(rows):
        kept = "/".join(str(sum(row[f"{task} kept"] for row in mine)) for task in TASKS)
        lines.append((f"{engine}, {group}", len(mine), *(mean(mine, method) for method in methods), kept))
    return Table(
        "Blur: mean error of reading (columns: CER; documents: 1 - word F; profile 'standard')",
        ("engine, pages", "pages", *methods, "kept " + "/".join(TASKS)),
        lines,
        "pages whose error blurred is 10 to 60 %; 'gated': what is written; the others: the networks alone",
    )


def _gains(rows: list[dict[str, Any]]) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for engine, group, mine in _groups(rows):
        for task in TASKS if mine else ():
            before, after = (np.array([row[method] for row in mine]) for method in ("blurred", task))
            change = paired_difference(before, after)
            control = min(np.mean([row[name] for row in mine]) for name in CONTROLS)
            lines.append((
                f"{engine}, {group}, {task}",
                float(after.mean() / before.mean()),
                float(after.mean() / control),
                change.mean,
                f"{change.low:+.3f} .. {change.high:+.3f}",
                f"{(after < before).sum()}/{(after == before).sum()}/{(after > before).sum()}",
            ))  # fmt: skip
    chosen = [row["chosen"] == "deblur" for row in rows]
    return Table(
        "Blur: what deblurring gains (gate off)",
        ("engine, pages, task", "after/before", "after/control", "change", "95 % interval", "better/same/worse"),
        lines,
        f"control: the better of the two; auto chose deblur for {sum(chosen)} of {len(chosen)} readings",
    )


def _groups(rows: list[dict[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return engine, group and pages, for every engine its groups and then all of them."""
    found = []
    for engine in ENGINES:
        mine = [row for row in rows if row["engine"] == engine]
        found += [(engine, group, [row for row in mine if row["column"] == column]) for group, column in GROUPS.items()]
        found.append((engine, "all", mine))
    return found

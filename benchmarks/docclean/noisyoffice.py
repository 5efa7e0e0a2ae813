"""Stained and folded pages against their clean originals."""

from typing import Any

import numpy as np

from benchmarks.classical import CLEANERS
from benchmarks.docclean import metrics, pages
from benchmarks.docclean.application import Setup, cached_engine
from benchmarks.result import Section, Strip, Table, mean
from fastdiff.apps.docclean.page_cleaner import PageCleaner

OURS, GATED = "ours, --force-clean", "ours"
METHODS = (*CLEANERS, "ours, --task clean", OURS, GATED)


def run(setup: Setup) -> Section:
    clean = setup.page_restorer("clean")
    gated = PageCleaner(setup.page_restorer("auto"), cached_engine("easyocr"))
    rows: list[dict[str, Any]] = []
    strips = []
    for key, pair in enumerate(pages.noisyoffice(setup.data, setup.limit)):
        results = {name: cleaner(pages.grey(pair.pixels)) for name, cleaner in CLEANERS.items()}
        results["ours, --task clean"] = clean(pair.pixels, key).pixels
        cleaned = gated(pair.pixels, key)
        forced = pair.pixels if cleaned.restored is None else cleaned.restored
        results |= {OURS: forced, GATED: cleaned.pixels}
        of = {"page": pair.name, "kept": cleaned.status == "kept", "task": cleaned.task}
        rows += [of | {"method": name} | _measured(pair, results[name]) for name in METHODS]
        error = _measured(pair, cleaned.pixels)["rmse"]
        strips.append(Strip(pair.name, -error, (pair.pixels, cleaned.pixels, pair.truth)))
    return Section([_table(rows)], rows, strips)


def _measured(pair: pages.Pair, result: np.ndarray) -> dict[str, float]:
    truth, result = pair.truth / 255, pages.share_of_white(result)
    return {
        "rmse": metrics.rmse(truth, result),
        "psnr": metrics.psnr(truth, result),
        "ink_psnr": metrics.ink_psnr(truth, result),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    lines = []
    for method in METHODS:
        mine = [row for row in rows if row["method"] == method]
        kept = sum(row["kept"] for row in mine) if method == GATED else None
        lines.append((method, *(mean(mine, name) for name in ("rmse", "psnr", "ink_psnr")), len(mine), kept))
    blurred = sum(row["task"] == "deblur" for row in rows if row["method"] == OURS)
    return Table(
        "NoisyOffice: means of the measures of each page, white = 1",
        ("method", "RMSE", "PSNR dB", "ink PSNR dB", "pages", "kept"),
        lines,
        f"'ours' is --task auto, which took {blurred} of the pages for blurred; 'kept': rejected by the gate (easyocr)",
    )

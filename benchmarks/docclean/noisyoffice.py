"""Stained and folded pages against their clean originals."""

from typing import Any

import numpy as np

from benchmarks.classical import CLEANERS
from benchmarks.docclean import pages
from benchmarks.docclean.application import Judge, Setup, reader
from benchmarks.result import Section, Strip, Table, mean
from fastdiff.apps.docclean import metrics

OURS, GATED = "ours", "ours, gate on"
METHODS = (*CLEANERS, "ours, --task clean", OURS, GATED)


def run(setup: Setup) -> Section:
    judge = Judge(reader("easyocr"))
    clean, auto = setup.enhancer("clean"), setup.enhancer("auto")
    rows: list[dict[str, Any]] = []
    strips = []
    for key, pair in enumerate(pages.noisyoffice(setup.data, setup.limit)):
        results = {name: cleaner(pages.grey(pair.pixels)) for name, cleaner in CLEANERS.items()}
        results["ours, --task clean"] = clean(pair.pixels, key).pixels
        enhanced = auto(pair.pixels, key)
        kept = not judge.accepts(pair.pixels, enhanced.pixels)
        results |= {OURS: enhanced.pixels, GATED: pair.pixels if kept else enhanced.pixels}
        of = {"page": pair.name, "kept": kept, "task": enhanced.task}
        rows += [of | {"method": name} | _measured(pair, results[name]) for name in METHODS]
        error = _measured(pair, enhanced.pixels)["rmse"]
        strips.append(Strip(pair.name, -error, (pair.pixels, enhanced.pixels, pair.truth)))
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

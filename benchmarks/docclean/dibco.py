"""Binarisation of the DIBCO contests' pages against their masks."""

from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.classical import BINARISERS
from benchmarks.docclean import metrics, pages
from benchmarks.docclean.application import Setup, cached_engine
from benchmarks.result import Section, Strip, Table, mean
from fastdiff.apps.docclean.ocr.scoring import Scorer

YEARS = ("2009", "2010", "2011")
COLUMNS = (*((year,) for year in YEARS), YEARS)
METHODS = (*BINARISERS, "ours")


def run(setup: Setup) -> Section:
    judge, restore = Scorer(cached_engine("easyocr")), setup.page_restorer("binarize")
    rows: list[dict[str, Any]] = []
    strips = []
    for year in YEARS:
        for key, pair in enumerate(pages.dibco(setup.data, year, setup.limit)):
            results = {name: binarise(pages.grey(pair.pixels)) for name, binarise in BINARISERS.items()}
            results["ours"] = restore(pair.pixels, key).pixels
            kept = not judge.compare(pair.pixels, results["ours"], stem="", page=0).accept
            of = {"page": pair.name, "year": year, "kept": kept}
            rows += [of | {"method": name} | _measured(pair.truth, ~results[name]) for name in METHODS]
            strips.append(Strip(pair.name, rows[-1]["f"], (pair.pixels, results["ours"], ~pair.truth)))
    return Section([_f_by_year(rows), *(_table(rows, year) for year in YEARS)], rows, strips)


def _measured(truth: np.ndarray, ink: np.ndarray) -> dict[str, float]:
    return {
        "f": metrics.f_measure(truth, ink),
        "psnr": metrics.psnr(truth, ink),
        "drd": metrics.drd(truth, ink),
        "pseudo_f": metrics.pseudo_f_measure_skeleton(truth, ink),
    }


def _f_by_year(rows: list[dict[str, Any]]) -> Table:
    f = np.array(
        [
            [fmean(row["f"] for row in rows if row["method"] == method and row["year"] in years) for years in COLUMNS]
            for method in METHODS
        ]
    )  # (methods, columns); ours is the last method
    lines = [(method, *line) for method, line in zip(METHODS, f.tolist(), strict=True)]
    lines.append(("ours over the best", *(f[-1] - f[:-1].max(axis=0)).tolist()))
    kept = [row["kept"] for row in rows if row["method"] == "ours"]
    return Table(
        "DIBCO: mean F-measure",
        ("method", *YEARS, "all"),
        lines,
        f"gate off; with the gate on (easyocr) {sum(kept)} of {len(kept)} pages would stay as they were",
    )


def _table(rows: list[dict[str, Any]], year: str) -> Table:
    lines = []
    for method in METHODS:
        mine = [row for row in rows if (row["method"], row["year"]) == (method, year)]
        lines.append((method, *(mean(mine, name) for name in ("f", "psnr", "drd", "pseudo_f")), len(mine)))
    return Table(
        f"DIBCO {year}",
        ("method", "F", "PSNR dB", "DRD", "pseudo-F", "pages"),
        lines,
        "pseudo-F counts recall on the skeleton of the truth (contests of 2010 to 2012)",
    )

"""Steps, guidance and strength of the default preset, on word swaps that the benchmark of edits does not measure."""

from dataclasses import replace
from itertools import product
from typing import Any

from benchmarks.edit.cases import SEED, against_truth, judge, swaps
from benchmarks.edit.edits import DEFAULT, editing, timed
from benchmarks.result import Section, Table, means
from fastdiff.apps.edit.presets import PRESETS

STEPS = (4, 5, 6, 8)
GUIDANCE = (1.5, 2.0, 3.0)
STRENGTH = (0.75, 0.85, 0.95)
SWAPS = 24
MEASURES = ("found", "object", "background", "seconds")


def run(model: str, limit: int | None) -> Section:
    found = judge()
    rows: list[dict[str, Any]] = []
    chosen = swaps(SWAPS if limit is None else limit, seed=SEED + 1)
    for steps, guidance, strength in product(STEPS, GUIDANCE, STRENGTH):
        way = editing(model, replace(PRESETS[DEFAULT], steps=steps, guidance=guidance, strength=strength, attempts=1))
        for case in chosen:
            edited, seconds = timed(way, case)
            right = found.read(edited)[0].concept == case.target.concept
            row = {"setting": f"{steps} steps, guidance {guidance:g}, strength {strength:g}", "found": right}
            rows.append(row | {"seconds": seconds} | against_truth(edited, case))
    lines = sorted(means(rows, "setting", MEASURES), key=lambda line: line[1:3], reverse=True)
    title = (
        f"Settings of {DEFAULT} on word swaps, best first: share that the judge finds, PSNR to the true answer in dB"
    )
    return Section([Table(title, ("setting", *MEASURES, "edits"), lines)], rows)

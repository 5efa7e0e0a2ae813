"""Steps, guidance and strength of the default preset, on word swaps that the benchmark of edits does not measure."""

import time
from dataclasses import replace
from itertools import product
from typing import Any

import torch

from benchmarks.edit.cases import SEED, judge, psnr, swaps
from benchmarks.edit.edits import DEFAULT, editing
from benchmarks.result import Section, Table, means
from fastdiff.apps.edit.presets import PRESETS

STEPS = (6, 8, 12)
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
            began = time.perf_counter()
            with torch.inference_mode():
                edited = way(case)
                seconds = time.perf_counter() - began
                right = found.read(edited)[0].concept == case.target.concept
            row = {"setting": f"{steps} steps, guidance {guidance:g}, strength {strength:g}", "found": right}
            row |= {"object": psnr(edited, case.truth, case.region), "seconds": seconds}
            rows.append(row | {"background": psnr(edited, case.truth, ~case.region)})
    lines = sorted(means(rows, "setting", MEASURES), key=lambda line: line[1:3], reverse=True)
    title = (
        f"Settings of {DEFAULT} on word swaps, best first: share that the judge finds, PSNR to the true answer in dB"
    )
    return Section([Table(title, ("setting", *MEASURES, "edits"), lines)], rows)

"""Steps, guidance and strength of the default preset, on word swaps that the benchmark of edits does not measure."""

from dataclasses import replace
from itertools import product
from typing import Any

from benchmarks.edit.cases import SEED, against_truth, judge, swaps
from benchmarks.edit.edits import DEFAULT, editing, shape_scores, timed
from benchmarks.edit.shape import ShapeMeasure
from benchmarks.result import Section, Table, means
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.training.edit.render import Renderer

STEPS = (5, 8, 12)
GUIDANCE = (1.5, 2.5, 4.0)
STRENGTH = (0.8, 0.9, 1.0)
SWAPS = 24
MEASURES = ("shape", "edges", "nearer new", "found", "object", "background", "seconds")


def run(model: str, limit: int | None) -> Section:
    found, measured = judge(), shape_scores(ShapeMeasure(Renderer()))
    rows: list[dict[str, Any]] = []
    chosen = swaps(SWAPS if limit is None else limit, seed=SEED + 1)
    for steps, guidance, strength in product(STEPS, GUIDANCE, STRENGTH):
        way = editing(model, replace(PRESETS[DEFAULT], steps=steps, guidance=guidance, strength=strength, attempts=1))
        for case in chosen:
            edited, seconds = timed(way, case)
            right = found.read(edited)[0].concept == case.target.concept
            row = {"setting": f"{steps} steps, guidance {guidance:g}, strength {strength:g}", "found": right}
            rows.append(row | {"seconds": seconds} | against_truth(edited, case) | measured(edited, case))
    lines = sorted(means(rows, "setting", MEASURES), key=lambda line: line[1:2], reverse=True)
    title = (
        f"Settings of {DEFAULT} on word swaps, best shape first: shape in dB, edges in [-1, 1], share nearer the new "
        "shape, share that the judge finds, PSNR to the true answer in dB"
    )
    return Section([Table(title, ("setting", *MEASURES, "edits"), lines)], rows)

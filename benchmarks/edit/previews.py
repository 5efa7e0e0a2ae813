"""Previews beside the edits that `refine` makes of them: how alike they are, and how much sooner they are there."""

from typing import Any

from benchmarks.edit.cases import as_picture, judge, psnr, swaps
from benchmarks.edit.edits import DEFAULT, editing, timed
from benchmarks.edit.shape import ShapeMeasure
from benchmarks.result import Section, Strip, Table, means
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.training.edit.render import Renderer

PREVIEWS = 24  # word swaps
MEASURES = ("shape", "whole", "object", "alike", "found", "seconds", "finished in")


def run(model: str, limit: int | None) -> Section:
    """The preview of the default preset, and an edit and a preview from other noise to compare with."""
    found, shape, preset = judge(), ShapeMeasure(Renderer()), PRESETS[DEFAULT]
    mine, whole = swaps(PREVIEWS if limit is None else limit), editing(model, preset)
    finished = [timed(whole, case) for case in mine]
    ways = {
        "preview": editing(model, preset, preview=True),
        "preview from other noise": editing(model, preset, seed=1, preview=True),
        "finished from other noise": editing(model, preset, seed=1),
    }
    rows: list[dict[str, Any]] = []
    strips = []
    for way, edit in ways.items():
        for number, (case, (final, seconds)) in enumerate(zip(mine, finished, strict=True)):
            first, sooner = timed(edit, case)
            seen, then = (found.read(each)[0].concept for each in (first, final))
            row: dict[str, Any] = {"way": way, "case": number}
            row |= {"alike": seen == then, "found": seen == case.target.concept}
            row |= {"shape": shape(as_picture(first), case.target.concept).psnr}
            row |= {"whole": psnr(first, final), "object": psnr(first, final, case.region)}
            rows.append(row | {"seconds": sooner, "finished in": seconds})
            if way == "preview":
                sides = tuple(as_picture(each) for each in (case.before, first, final))
                strips.append(Strip(f"{case.source.caption} > {case.target.caption}", row["whole"], sides))
    title = f"Word swaps by {DEFAULT}: shape, PSNR to the finished edit in dB, shares that read as that, and as wished"
    return Section([Table(title, ("way", *MEASURES, "edits"), means(rows, "way", MEASURES))], rows, strips)

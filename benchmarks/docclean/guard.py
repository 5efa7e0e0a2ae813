"""Content and dirt that the guard puts back on rendered pages of held-out fonts and photographs, by threshold."""

from collections.abc import Sequence
from math import nan
from typing import Any

import numpy as np

from benchmarks.docclean.application import Setup
from benchmarks.result import Cell, Section, Strip, Table
from fastdiff.apps.docclean.guard import guard
from fastdiff.apps.docclean.guard.mark_classifier import load_classifier
from fastdiff.apps.docclean.guard.marks import Marks, find_areas, find_strokes
from fastdiff.apps.docclean.imaging.illumination import even_out
from fastdiff.apps.docclean.imaging.layers import split, working_copy
from fastdiff.training.docclean import guard_samples
from fastdiff.training.docclean.guard_pages import Example, render_examples

PAGES = 105
SEED = 7_717
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
CHOSEN = {"strokes": guard.STROKES, "areas": guard.AREAS}

Row = dict[str, Any]


def run(setup: Setup) -> Section:
    """Measure the marks that go back if a restorer bleached the whole page; marks weigh by their pixels."""
    rows = [row for example in render_examples(SEED, setup.count(PAGES), held_out=True) for row in _judged(example)]
    tables = [_curve(layer, [row for row in rows if row["layer"] == layer]) for layer in CHOSEN]
    tables += [_by(rows, key) for key in ("kind", "profile")]
    strips = [Strip("share of content (up) and of dirt (right) put back", 0.0, (_drawn(rows),))] if rows else []
    return Section(tables, rows, strips)


def _judged(example: Example) -> list[Row]:
    layers = split(working_copy(even_out(example.degraded)))
    page = {"kind": example.kind, "profile": example.profile}
    strokes, areas = find_strokes(layers), find_areas(layers)
    return [
        page | _counted("strokes", strokes, guard_samples.true_strokes(example)),
        page | _counted("areas", areas, guard_samples.true_areas(example)),
    ]


def _counted(layer: str, marks: Marks, truth: np.ndarray) -> Row:
    """Return the pixels of content and of dirt on a page, and those in marks above every threshold."""
    content = marks.share_of(truth) > 0.5
    probability = load_classifier(layer)(marks.features)
    row: Row = {"layer": layer}
    for name, chosen in (("content", content), ("dirt", ~content)):
        sizes = np.where(chosen, marks.sizes, 0)
        sizes[0] = 0
        row[name] = float(sizes.sum())
        for threshold in (*THRESHOLDS, CHOSEN[layer]):
            row[f"{name} {threshold}"] = float(sizes[probability > threshold].sum())
    return row


def _share(rows: Sequence[Row], name: str, threshold: float) -> float | None:
    whole = sum(row[name] for row in rows)
    return sum(row[f"{name} {threshold}"] for row in rows) / whole if whole else None


def _shares(rows: Sequence[Row], name: str, thresholds: Sequence[float]) -> list[float]:
    """Return the share at every threshold, not a number where there are no such pixels."""
    shares = [_share(rows, name, threshold) for threshold in thresholds]
    return [nan if share is None else share for share in shares]


def _curve(layer: str, rows: list[Row]) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for threshold in sorted({*THRESHOLDS, CHOSEN[layer]}):
        chosen = " (chosen)" if threshold == CHOSEN[layer] else ""
        lines.append((f"{threshold}{chosen}", *(_share(rows, name, threshold) for name in ("content", "dirt"))))
    return Table(
        f"The guard's trade-off, {layer}: shares of pixels put back where all is bleached, by probability of content",
        ("threshold", "content", "dirt"),
        lines,
    )


def _by(rows: list[Row], key: str) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for value in dict.fromkeys(row[key] for row in rows):
        cells: list[Cell] = []
        for layer, threshold in CHOSEN.items():
            mine = [row for row in rows if row[key] == value and row["layer"] == layer]
            cells += [_share(mine, name, threshold) for name in ("content", "dirt")]
        lines.append((value, *cells, len(mine)))
    return Table(
        f"The guard by {key}: shares of pixels put back where all is bleached",
        (key, "strokes content", "strokes dirt", "areas content", "areas dirt", "pages"),
        lines,
    )


def _drawn(rows: list[Row]) -> np.ndarray:
    """Return the curves of both layers, RGB uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = FigureCanvasAgg(Figure((6, 5), dpi=120, layout="tight"))
    axes = canvas.figure.add_subplot(xlabel="share of dirt put back", ylabel="share of content put back")
    for layer, threshold in CHOSEN.items():
        mine = [row for row in rows if row["layer"] == layer]
        dirt, content = (_shares(mine, name, THRESHOLDS) for name in ("dirt", "content"))
        (line,) = axes.plot(dirt, content, marker=".", label=layer)
        dirt, content = (_shares(mine, name, (threshold,)) for name in ("dirt", "content"))
        axes.plot(dirt, content, "o", color=line.get_color(), label=f"{layer}, chosen")
    axes.legend()
    axes.grid(alpha=0.3)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

"""`report.html`: one self-contained file with the examination, the rates, robust accuracy by bound, and pictures."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from fastdiff.apps.attack.victim_examination import VictimExamination

SIDE = 192  # pixels of the longer side of a picture
WIDTH, HEIGHT, MARGIN = 480, 280, 44  # of the plot, in pixels
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .3em .8em; border-bottom: 1px solid #ddd }
th { text-align: left } td { overflow-wrap: anywhere } .flag { background: #fde8e8; border-left: 4px solid #c22;
padding: .5em 1em; margin: .5em 0 }
figure { display: inline-block; margin: .5em; max-width: 200px; vertical-align: top }
figcaption { font-size: 13px; overflow-wrap: anywhere } section { border-top: 1px solid #ddd }
"""


def page(title: str, blocks: Sequence[str]) -> str:
    """Return the text of an HTML file of blocks in HTML, under a title in plain text.

    Bytes of file names that are no text become question marks.
    """
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    start = f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body>\n<h1>{escape(title)}</h1>"
    return "\n".join([start, *blocks, "</body></html>\n"]).encode(errors="replace").decode()


def examination(victim: VictimExamination | None) -> str:
    """Return the examination of the classifier, its red flags first."""
    if victim is None:
        return "<p>The classifier was not examined: no picture could be read.</p>"
    flags = [
        f"<p class='flag'><b>Red flag, {escape(each.name)}:</b> {escape(each.sentence)}</p>" for each in victim.flags
    ]
    facts = [
        f"{victim.outputs}, on {victim.pictures} pictures",
        f"gradients {victim.zero_gradients:.1%} zero and {victim.non_finite_gradients:.1%} not finite",
        *victim.notes,
    ]
    listed = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return f"<h2>Classifier {escape(victim.classifier)}</h2>\n{''.join(flags)}<ul>{listed}</ul>"


def rates(rows: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return a table of rates and accuracies, as `report.rate` and `measures.accuracy` make them, by their titles."""
    lines = ["<table><tr><th>Measure</th><th>Share</th><th>Count</th><th>95 % interval</th><th>Red flags</th></tr>"]
    for title, found in rows.items():
        if found is None or not found["of"]:
            continue
        count = found["right"] if "right" in found else found["succeeded"]
        low, high = found["interval_95"]
        cells = (title, f"{count / found['of']:.1%}", f"{count} of {found['of']}", f"{low:.1%} to {high:.1%}",
                 ", ".join(found.get("flags", ())))  # fmt: skip
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def curve(points: Sequence[tuple[float, Mapping[str, Any]]]) -> str:
    """Return a plot of robust accuracy against the bound in 1/255, with its 95 % intervals, as SVG.

    `points` are bounds and accuracies as `measures.accuracy` makes them.
    """
    most = max(bound for bound, _ in points) or 1.0

    def across(bound: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * bound / most

    def down(share: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share

    marks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        marks.append(f"<path d='M{MARGIN} {down(share):.1f}H{WIDTH - MARGIN}' stroke='#ddd'/>")
        marks.append(f"<text x='{MARGIN - 6}' y='{down(share) + 4:.1f}' text-anchor='end'>{share:.0%}</text>")
    for bound, found in points:
        low, high = found["interval_95"]
        marks.append(
            f"<path d='M{across(bound):.1f} {down(low):.1f}V{down(high):.1f}' stroke='#88a' stroke-width='2'/>"
        )
        marks.append(f"<circle cx='{across(bound):.1f}' cy='{down(found['accuracy']):.1f}' r='4' fill='#226'/>")
        marks.append(f"<text x='{across(bound):.1f}' y='{HEIGHT - MARGIN + 18}' text-anchor='middle'>{bound:g}</text>")
    line = " ".join(f"{across(bound):.1f},{down(found['accuracy']):.1f}" for bound, found in points)
    marks.append(f"<polyline points='{line}' fill='none' stroke='#226' stroke-width='2'/>")
    marks.append(f"<text x='{WIDTH / 2}' y='{HEIGHT - 6}' text-anchor='middle'>bound in 1/255</text>")
    return (
        f"<figure style='max-width:none'><svg viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}' "
        f"font-size='12' role='img' aria-label='robust accuracy by bound'>{''.join(marks)}</svg>"
        "<figcaption>Robust accuracy by the bound on the change of a colour, with 95 % intervals</figcaption></figure>"
    )


def pictures(title: str, shown: Mapping[str, np.ndarray]) -> str:
    """Return pictures, uint8 (H, W, 3), side by side under a title, each with its caption."""
    figures = (
        f"<figure><img alt='' src='{_data(pixels)}'><figcaption>{escape(caption)}</figcaption></figure>"
        for caption, pixels in shown.items()
    )
    return f"<section><h3>{escape(title)}</h3>{''.join(figures)}</section>"


def _data(pixels: np.ndarray) -> str:
    """Return a picture, shrunk, as a PNG in a data address."""
    picture, file = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((SIDE, SIDE))
    picture.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

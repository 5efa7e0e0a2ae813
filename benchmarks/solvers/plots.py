"""Plots of errors by number of network evaluations, on logarithmic axes."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.result import Section
from benchmarks.solvers.participants import BASELINES
from benchmarks.solvers.tuned import NAMES

LARGEST = 2.0  # error that is shown


def save(folder: Path, section: Section) -> None:
    """Write a plot for every comparison of the section, named after its title; other sections have none."""
    titles = dict.fromkeys(page["race"] for page in section.pages if "race" in page)
    for title in titles:
        folder.mkdir(parents=True, exist_ok=True)
        _draw(folder / f"{'-'.join(title.replace(',', '').split())}.png", title, section)


def _draw(path: Path, title: str, section: Section) -> None:
    """Draw tuned solvers in colours, DPM-Solver++(2M) and UniPC in black (of diffusers dashed), the others pale."""
    figure, axes = pyplot.subplots(figsize=(11, 7), layout="constrained")
    rows = [page for page in section.pages if page.get("race") == title]
    names = dict.fromkeys(row["solver"] for row in rows)
    for name in sorted(names, key=lambda name: name in (*NAMES, *BASELINES)):
        mine = sorted((row["calls"], row["mean"]) for row in rows if row["solver"] == name)
        axes.plot(*zip(*mine, strict=True), **_look(name), marker=".")
    axes.plot([], [], **_look("others"), label="all others, see the table")
    calls = sorted({row["calls"] for row in rows})
    axes.set(title=title, xlabel="calls of the network", ylabel="relative error", xscale="log", yscale="log")
    axes.set_ylim(top=min(axes.get_ylim()[1], LARGEST))
    axes.set_xticks(calls, [str(each) for each in calls], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _look(name: str) -> dict[str, Any]:
    """Return the style of the line of a solver."""
    if name in NAMES:
        return {"label": name, "color": f"C{NAMES.index(name)}", "linewidth": 2.5}
    if name in BASELINES:
        shade = "black" if "unipc" in name.lower() else "dimgray"
        return {"label": name, "color": shade, "linewidth": 1.6, "linestyle": "--" if " " in name else "-"}
    return {"color": "lightgray", "linewidth": 1.0}

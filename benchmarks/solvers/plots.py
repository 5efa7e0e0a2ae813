"""Errors against calls as a picture, on logarithmic axes."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.result import Section
from benchmarks.solvers.field import BASELINES
from benchmarks.solvers.tuned import NAMES

LARGEST = 2.0  # error that is shown


def save(folder: Path, section: Section) -> None:
    """Write a picture for every race of the section, named after it; sections without races have none."""
    races = dict.fromkeys(page["race"] for page in section.pages if "race" in page)
    for title in races:
        folder.mkdir(parents=True, exist_ok=True)
        _draw(folder / f"{'-'.join(title.replace(',', '').split())}.png", title, section)


def _draw(path: Path, title: str, section: Section) -> None:
    """Tuned solvers are thick, those of diffusers dashed, all but the baselines of theirs and ours pale."""
    figure, axes = pyplot.subplots(figsize=(11, 7), layout="constrained")
    rows = [page for page in section.pages if page.get("race") == title]
    colours = pyplot.get_cmap("tab20").colors
    for number, name in enumerate(dict.fromkeys(row["solver"] for row in rows)):
        mine = sorted((row["calls"], row["mean"]) for row in rows if row["solver"] == name)
        axes.plot(
            *zip(*mine, strict=True),
            label=name,
            color=colours[number % len(colours)],
            linestyle="--" if name.startswith("diffusers") else "-",
            linewidth=2.5 if name in NAMES else 1.2,
            alpha=1.0 if name in (*NAMES, *BASELINES) else 0.45,
            marker=".",
        )
    calls = sorted({row["calls"] for row in rows})
    axes.set(title=title, xlabel="calls of the network", ylabel="relative error", xscale="log", yscale="log")
    axes.set_ylim(top=min(axes.get_ylim()[1], LARGEST))
    axes.set_xticks(calls, [str(each) for each in calls], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

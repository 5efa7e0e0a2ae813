"""Calibrates a cache for `fastdiff tune --accelerate`."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fastdiff.cli.problem_options import open_problem
from fastdiff.cli.progress import shown, status

if TYPE_CHECKING:
    from fastdiff.apps.tuning.calibrate import CacheResult


class CacheSettings(NamedTuple):
    """The settings of a calibration, as in `CacheTuning`."""

    cache: str
    steps: int
    budget: float
    solver: str
    samples: int
    seed: int


def calibrate(model: str, settings: CacheSettings, out: Path, debug: bool, **chosen: Any) -> None:
    """Calibrate a cache, write its file, and print what it saves and changes; `chosen` are those of `open_problem`."""
    with status("loading the model"):
        from fastdiff.apps.running.folder_locks import FolderLocks
        from fastdiff.apps.tuning.calibrate import CacheTuning, run

        subject = open_problem(model, **chosen)
        tuning = CacheTuning(subject, out, **settings._asdict())
        takes = timedelta(seconds=round(tuning.seconds()))
    click.echo(f"{subject.name}: guidance {subject.guidance:g}, on {subject.description}; about {takes}", err=True)
    with FolderLocks() as locks, shown(debug=debug) as watch:
        locks.add([out.parent])
        result = run(tuning, watch)
    many = f"{settings.steps} steps of {settings.solver}"
    click.echo(f"mean distance of {settings.samples} held-out samples to {many}, relative to its length")
    click.echo("\n".join(_compared(settings, result)))
    click.echo(out)


def _compared(settings: CacheSettings, result: "CacheResult") -> list[str]:
    """Compare the cache with fewer steps of the same solver."""
    ours, others = (sum(each) / len(each) for each in (result.distances, result.distances_of_fewer))
    aim = f"aimed at {settings.budget * settings.steps:.1f}"
    lines = [
        f"{ours:.4f}  {settings.cache} at the cost of {result.cost:.1f} calls; {aim}",
        f"{others:.4f}  {result.fewer} steps",
    ]
    return lines if ours < others else [*lines, f"the cache did not help: take {result.fewer} steps, not the file"]

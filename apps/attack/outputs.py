"""The output files of a picture: the attacked one, and beside it the amplified difference; failures are kept apart."""

from pathlib import Path

from fastdiff.apps.running.inputs import beside
from fastdiff.apps.running.output_manifest import FAILED


def difference_of(output: Path) -> Path:
    """`cat.png` -> `cat-difference.png`, with the stem cut where that name would be too long."""
    return beside(output, "-difference.png")


def placed(output: Path, success: bool) -> Path:
    """Return where the attacked picture lies: a failure is in a folder of failures beside the output."""
    return output if success else output.parent / FAILED / output.name


def files_of(output: Path) -> tuple[Path, ...]:
    """Return the attacked picture and its amplified difference, of a success and of a failure."""
    places = (placed(output, success) for success in (True, False))
    return tuple(file for place in places for file in (place, difference_of(place)))


def sheet_of(report: Path) -> Path:
    """The contact sheet beside report.json."""
    return beside(report, "-sheet.png")


def page_of(report: Path) -> Path:
    """The page for a browser beside report.json."""
    return beside(report, ".html")

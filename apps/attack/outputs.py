"""The output files of a picture: the attacked one, and beside it the amplified difference."""

from pathlib import Path

from fastdiff.apps.running.inputs import beside


def difference_of(output: Path) -> Path:
    """`cat.png` -> `cat-difference.png`, with the stem cut where that name would be too long."""
    return beside(output, "-difference.png")


def files_of(output: Path) -> tuple[Path, Path]:
    """The attacked picture and its amplified difference."""
    return output, difference_of(output)


def sheet_of(report: Path) -> Path:
    """The contact sheet beside report.json."""
    return beside(report, "-sheet.png")

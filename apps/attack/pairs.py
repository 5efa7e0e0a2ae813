"""Pairs of clean and adversarial pictures, to train a classifier that is harder to fool."""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from fastdiff.apps import atomic, picture
from fastdiff.apps.attack.report import AttackReport
from fastdiff.solvers.errors import OutputError

COLUMNS = ("clean", "adversarial", "true_label", "true_name", "seen_as")
TABLE = "pairs.csv"


def check(folder: Path) -> None:
    """Raises OutputError for a folder that holds something, but no pairs of an earlier run."""
    if folder.is_dir() and any(folder.iterdir()) and _listed(folder) is None:
        raise OutputError(f"{folder} holds something else than training pairs: name another folder, or give --force")


def export(images: Sequence[AttackReport], folder: Path) -> None:
    """Write the pairs of all successes, numbered, with a table of them (pairs.csv), into the folder, in place of those
    of an earlier run.

    Raises OutputError where that cannot be written.
    """
    successes = [image for image in images if image.success_after_png]
    for number in range(_listed(folder) or 0):
        for place in _pair(number):
            (folder / place).unlink(missing_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, image in enumerate(successes):
        writer.writerow((*_pair(number), image.true, image.true_name, image.after))
    atomic.write_text(folder / TABLE, table.getvalue())  # first, so that it lists whatever a killed run leaves
    for number, image in enumerate(successes):
        assert image.output is not None
        clean, adversarial = (folder / place for place in _pair(number))
        original = picture.read(Path(image.input))
        with atomic.draft(clean) as draft:
            picture.save(original.colour[0], picture.opaque(original), draft, {"input": Path(image.input).name})
            atomic.publish(draft, clean)
        with atomic.draft(adversarial) as draft:
            shutil.copyfile(image.output, draft)
            atomic.publish(draft, adversarial)


def _pair(number: int) -> tuple[Path, Path]:
    return Path("clean", f"{number:05d}.png"), Path("adversarial", f"{number:05d}.png")


def _listed(folder: Path) -> int | None:
    """How many pairs the table of an earlier run lists; None where there is none."""
    try:
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            return sum(1 for _ in rows) if next(rows, None) == list(COLUMNS) else None
    except (OSError, UnicodeDecodeError, csv.Error):
        return None

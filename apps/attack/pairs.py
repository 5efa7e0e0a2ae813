"""Pairs of clean and adversarial pictures, to train a classifier that is harder to fool."""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from fastdiff.apps import atomic, picture
from fastdiff.apps.attack.report import AttackReport

COLUMNS = ("clean", "adversarial", "true_label", "true_name", "seen_as")


def export(images: Sequence[AttackReport], folder: Path) -> None:
    """Write the pairs of all successes, numbered, with a table of them (pairs.csv), into the folder.

    Raises OutputError where that cannot be written.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for number, image in enumerate(image for image in images if image.success_after_png):
        assert image.output is not None
        clean, adversarial = Path("clean", f"{number:05d}.png"), Path("adversarial", f"{number:05d}.png")
        original = picture.read(Path(image.input))
        with atomic.draft(folder / clean) as draft:
            picture.save(original.colour[0], picture.opaque(original), draft, {"input": Path(image.input).name})
            atomic.publish(draft, folder / clean)
        with atomic.draft(folder / adversarial) as draft:
            shutil.copyfile(image.output, draft)
            atomic.publish(draft, folder / adversarial)
        writer.writerow(dict(zip(COLUMNS, (clean, adversarial, image.true, image.true_name, image.after), strict=True)))
    atomic.write_text(folder / "pairs.csv", table.getvalue())

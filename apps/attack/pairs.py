"""Pairs of clean and adversarial pictures, to train a classifier that is harder to fool."""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from fastdiff.apps.attack.report import AttackReport
from fastdiff.apps.images import picture
from fastdiff.apps.running.output_manifest import OutputManifest

COLUMNS = ("clean", "adversarial", "true_label", "true_name", "seen_as")
CLEAN, ADVERSARIAL, TABLE = "clean", "adversarial", "pairs.csv"


def folders(folder: Path) -> tuple[Path, ...]:
    """The folders that pairs are written into."""
    return folder, folder / CLEAN, folder / ADVERSARIAL


def files(table: Path, count: int) -> list[Path]:
    """The table and the pictures of `count` pairs."""
    return [table, *(table.parent / name for number in range(count) for name in _pair(number))]


def export(images: Sequence[AttackReport], manifest: OutputManifest) -> None:
    """Write the pairs of all successes, numbered, with a table of them, which is the output of `manifest`.

    They replace those of an earlier run of the same command. Raises OutputError where that cannot be written.
    """
    successes = [image for image in images if image.success_after_png]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, image in enumerate(successes):
        writer.writerow((*_pair(number), image.true, image.true_name, image.after))
    with manifest.drafts(files(manifest.output, len(successes))) as drafts:
        drafts[manifest.output].write_text(table.getvalue(), encoding="utf-8")
        for number, image in enumerate(successes):
            assert image.output is not None
            clean, adversarial = (drafts[manifest.output.parent / name] for name in _pair(number))
            original = picture.read(Path(image.input))
            picture.save(original.colour[0], picture.without_alpha(original), clean, {"input": Path(image.input).name})
            shutil.copyfile(image.output, adversarial)
        manifest.publish(drafts, [], final=True)


def _pair(number: int) -> tuple[str, str]:
    return f"{CLEAN}/{number:05d}.png", f"{ADVERSARIAL}/{number:05d}.png"

"""True and target classes of pictures: a CSV file with the columns `image`, `true_label` and perhaps `target_label`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastdiff.apps.csv_file import read_rows
from fastdiff.models.classifier import ClassifierTarget
from fastdiff.solvers.errors import UsageError

ENOUGH = 20  # labels from which on the clean accuracy tells something
LEAST_ACCURACY = 0.5


@dataclass(frozen=True)
class Label:
    """Classes by index; None where the table tells none."""

    true: int | None
    target: int | None


def read(path: Path, classifier: ClassifierTarget) -> dict[str, Label]:
    """Labels by the file names of pictures; further columns are passed over.

    Raises UsageError for a file that is too large, is no CSV, lacks columns, names a picture twice, or holds a label
    that the classifier does not have.
    """
    columns, rows = read_rows(path)
    if "image" not in columns or not columns & {"true_label", "target_label"}:
        given = ", ".join(sorted(columns)) or "none"
        raise UsageError(f"{path} has the columns {given}: image is needed, and true_label or target_label")
    labels: dict[str, Label] = {}
    for number, row in enumerate(rows, 2):
        name = Path(row["image"] or "").name
        if not name or name in labels:
            raise UsageError(f"line {number} of {path} names {'no picture' if not name else name + ' again'}")
        told = (row.get("true_label"), row.get("target_label"))
        labels[name] = Label(*(_index(text, classifier, path, number) for text in told))
    return labels


def check_accuracy(predicted: Sequence[int], true: Sequence[int], classifier: ClassifierTarget) -> None:
    """Refuse a classifier that is wrong about most pictures, by UsageError, where there are ENOUGH of them."""
    right = sum(a == b for a, b in zip(predicted, true, strict=True))
    if len(true) < ENOUGH or right >= LEAST_ACCURACY * len(true):
        return
    for shift, told in ((1, "counted from 1"), (-1, "one too low")):
        if sum(a + shift == b for a, b in zip(predicted, true, strict=True)) >= LEAST_ACCURACY * len(true):
            raise UsageError(f"{classifier.name} is right about {right} of {len(true)} pictures: the labels are {told}")
    raise UsageError(
        f"{classifier.name} is right about {right} of {len(true)} clean pictures: usually its normalisation or input "
        "size is not what it was trained with, or the labels are those of other classes"
    )


def _index(text: str | None, classifier: ClassifierTarget, path: Path, number: int) -> int | None:
    if not text:
        return None
    try:
        return classifier.label(text)
    except UsageError as error:
        raise UsageError(f"line {number} of {path}: {error}") from error


def of(labels: Mapping[str, Label], path: Path) -> Label:
    """That of a picture."""
    return labels.get(path.name, Label(None, None))

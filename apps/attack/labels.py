"""True and target classes of pictures: a CSV file with the columns `image`, `true_label` and perhaps `target_label`.

Or a folder with a folder of pictures for every class, as torchvision's ImageFolder reads.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastdiff.apps.csv_file import read_rows
from fastdiff.models.classifier import ClassifierTarget, folded, numbered
from fastdiff.solvers.errors import UsageError

ENOUGH = 20  # labels from which on the clean accuracy tells something
LEAST_ACCURACY = 0.5

Parts = tuple[str, ...]  # components of a path


@dataclass(frozen=True)
class Label:
    """Classes by index; None where the table tells none."""

    true: int | None
    target: int | None


def read(path: Path, classifier: ClassifierTarget) -> dict[Parts, Label]:
    """Labels by the components of the paths in the table; further columns are passed over.

    Raises UsageError for a file that is too large, is no CSV, lacks columns, names a picture twice, or holds a label
    that the classifier does not have.
    """
    columns, rows = read_rows(path)
    if "image" not in columns or not columns & {"true_label", "target_label"}:
        given = ", ".join(sorted(columns)) or "none"
        raise UsageError(f"{path} has the columns {given}: image is needed, and true_label or target_label")
    labels: dict[Parts, Label] = {}
    for number, row in rows.items():
        parts = Path(row["image"] or "").parts
        if not parts or parts in labels:
            raise UsageError(f"line {number} of {path} names {f'{Path(*parts)} again' if parts else 'no picture'}")
        texts = (row.get("true_label"), row.get("target_label"))
        labels[parts] = Label(*(_index(text, classifier, path, number) for text in texts))
    return labels


def assigned(labels: Mapping[Parts, Label], pictures: Sequence[Path]) -> dict[Path, Label]:
    """The pictures that have labels, with them.

    A picture takes the labels of the path that ends in most of the same components as its own, where no other path
    and no other picture ends in those: `a/1.png` in the table means `photos/a/1.png` and not `photos/b/1.png`.
    """
    own = {picture: _endings(picture.absolute().parts) for picture in pictures}
    listed = Counter(ending for parts in labels for ending in _endings(parts))
    held = Counter(ending for endings in own.values() for ending in endings)
    meant = {ending: label for parts, label in labels.items() for ending in _endings(parts)}
    found = {}
    for picture, endings in own.items():
        shared = next((ending for ending in endings if ending in listed), None)
        if shared is not None and listed[shared] == held[shared] == 1:
            found[picture] = meant[shared]
    return found


def of_folders(folder: Path, pictures: Sequence[Path], classifier: ClassifierTarget) -> dict[Path, Label]:
    """Return labels of the pictures below `folder` by the folders in it, one for every class.

    Their names are classes of the classifier, by name or index. Where none is a name of one, and there is a folder for
    every class, they count in the order of their names as texts, as ImageFolder counts them. Raises UsageError for
    names that are not classes, and for numbers without names whose orders as texts and as numbers differ.
    """
    places = sorted(place.name for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    index = _of_folders(places, classifier, folder)
    top, found = len(folder.absolute().parts), {}
    for picture in pictures:
        parts = picture.absolute().parts
        if parts[:top] == folder.absolute().parts and len(parts) > top + 1:
            found[picture] = Label(index[parts[top]], None)
    return found


def _of_folders(places: Sequence[str], classifier: ClassifierTarget, folder: Path) -> dict[str, int]:
    count, named = len(classifier.names), classifier.names != numbered(len(classifier.names))
    in_order = {place: number for number, place in enumerate(places)} if len(places) == count else None
    known = {folded(name) for name in classifier.names} if named else set()
    if in_order is not None and not any(folded(place) in known for place in places):
        by_number = {place: int(place) for place in places if place.isdecimal()}
        if by_number in ({}, in_order):
            return in_order
        raise UsageError(
            f"the folders in {folder} are numbers, whose order as texts ({', '.join(places[:3])} ...) is another: give "
            "--classes with the names of the folders, in the order of the classifier's classes"
        )
    try:
        return {place: classifier.label(place) for place in places}
    except UsageError as error:
        raise UsageError(f"a folder in {folder}: {error}; --classes may name the classes as the folders are") from error


def check_accuracy(predicted: Sequence[int], true: Sequence[int], classifier: ClassifierTarget) -> None:
    """Refuse a classifier that is wrong about most pictures, by UsageError, where there are ENOUGH of them."""
    right = sum(a == b for a, b in zip(predicted, true, strict=True))
    if len(true) < ENOUGH or right >= LEAST_ACCURACY * len(true):
        return
    for shift, fault in ((1, "counted from 1"), (-1, "one too low")):
        if sum(a + shift == b for a, b in zip(predicted, true, strict=True)) >= LEAST_ACCURACY * len(true):
            raise UsageError(
                f"{classifier.name} is right about {right} of {len(true)} pictures: the labels are {fault}"
            )
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


def _endings(parts: Parts) -> list[Parts]:
    """The longest first."""
    return [parts[first:] for first in range(len(parts))]

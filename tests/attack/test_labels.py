"""Which lines of a table belong to which pictures, and which classes to folders."""

from pathlib import Path

import pytest
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder

from fastdiff.apps.attack.labels import Label, assigned, of_folders
from fastdiff.models.classifier import ClassifierTarget, Preprocessing, numbered
from fastdiff.solvers.errors import UsageError


@pytest.mark.parametrize(
    ("listed", "pictures", "expected"),
    [
        (["1.png"], ["photos/1.png"], {"photos/1.png": "1.png"}),
        (["train/1.png"], ["photos/1.png"], {"photos/1.png": "train/1.png"}),
        (["a/1.png"], ["a/1.png", "b/1.png"], {"a/1.png": "a/1.png"}),
        (["a/1.png", "b/1.png"], ["x/b/1.png", "x/a/1.png"], {"x/a/1.png": "a/1.png", "x/b/1.png": "b/1.png"}),
        (["1.png"], ["a/1.png", "b/1.png"], {}),
        (["a/1.png", "b/1.png"], ["c/1.png"], {}),
        (["1", "11.png", "a/1.png"], ["a/1.png"], {"a/1.png": "a/1.png"}),
        (["/data/a/1.png"], ["/data/a/1.png", "/data/b/1.png"], {"/data/a/1.png": "/data/a/1.png"}),
    ],
)
def test_the_longest_ending_tells(listed: list[str], pictures: list[str], expected: dict[str, str]) -> None:
    labels = {Path(name).parts: Label(number, None) for number, name in enumerate(listed)}
    found = assigned(labels, [Path(picture) for picture in pictures])
    assert {str(picture): label.true for picture, label in found.items()} == {
        picture: listed.index(name) for picture, name in expected.items()
    }


def tree(root: Path, *names: str) -> list[Path]:
    """Pictures in folders of these names, and one beside the folders."""
    pictures = [root / name / "deep" / "1.png" for name in names]
    for path in (*pictures, root / "1.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return [*pictures, root / "1.png"]


def classifier(*names: str) -> ClassifierTarget:
    return ClassifierTarget("net", nn.Identity(), Preprocessing(None), names)


@pytest.mark.parametrize("names", [("zebra", "ant", "Bee"), tuple("0123456789"), ("n02", "n01", "n10")])
def test_folders_count_as_those_of_torchvision(tmp_path: Path, names: tuple[str, ...]) -> None:
    pictures = tree(tmp_path, *names)
    found = of_folders(tmp_path, pictures, classifier(*numbered(len(names))))
    theirs = {Path(path): Label(index, None) for path, index in ImageFolder(str(tmp_path)).samples}
    assert found == theirs and pictures[-1] not in found


def test_folders_with_names_of_classes_have_these(tmp_path: Path) -> None:
    pictures = tree(tmp_path, "fire_engine", "Bee")
    found = of_folders(tmp_path, pictures, classifier("zebra", "bee", "fire engine"))
    assert [found[picture].true for picture in pictures[:-1]] == [2, 1]
    pictures = tree(tmp_path / "two", "bee", "ant")
    assert [label.true for label in of_folders(tmp_path / "two", pictures, classifier("bee", "ant")).values()] == [0, 1]


@pytest.mark.parametrize(
    ("folders", "classes", "message"),
    [
        (tuple(map(str, range(12))), numbered(12), "whose order as texts .0, 1, 10 ....* is another: give --classes"),
        (("bee", "wasp"), ("bee", "ant"), "no class 'wasp'"),
        (("n01", "n02"), ("bee", "ant", "cat"), "--classes may name the classes as the folders are"),
    ],
)
def test_folders_that_could_mean_other_classes_are_refused(
    tmp_path: Path, folders: tuple[str, ...], classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        of_folders(tmp_path, tree(tmp_path, *folders), classifier(*classes))

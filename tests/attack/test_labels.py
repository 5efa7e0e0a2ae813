"""Which lines of a table belong to which pictures."""

from pathlib import Path

import pytest

from fastdiff.apps.attack.labels import Label, assigned


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

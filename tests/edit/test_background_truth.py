"""What benchmarks count as a wished background, on true renders and on patterns in other places."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.edit.background_truth import is_shown
from fastdiff.training.edit.render import SIDE, Renderer, background
from fastdiff.training.edit.scenes import KINDS, Background, Pattern, draw

BLUE, EVERYWHERE = Background("plain", ("blue",)), np.ones((SIDE, SIDE), bool)


def test_backgrounds_of_true_renders_are_shown(renderer: Renderer) -> None:
    rng = np.random.default_rng(0)
    for scene in (draw(rng) for _ in range(60)):
        behind = renderer.matte(scene) < 0.02
        before = BLUE if scene.background != BLUE else replace(BLUE, colours=("red",))
        assert is_shown(renderer.picture(scene), behind, scene.background, before), scene


@pytest.mark.parametrize("angle", [0.0, 45.0])
@pytest.mark.parametrize("kind", ["dotted", "checkered"])
def test_the_place_of_a_pattern_is_free_along_and_across(kind: str, angle: float) -> None:
    wished = Background(kind, ("yellow", "black"))
    drawn = background(wished, Pattern(angle, 32.0, 5.0))
    for right, down in ((4, 0), (0, 7), (9, 14)):
        moved = cv2.warpAffine(
            drawn, np.array([[1.0, 0, right], [0, 1, down]]), (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT
        )
        assert is_shown(moved.astype(np.uint8), _inside(right, down), wished, BLUE)


def _inside(right: int, down: int) -> np.ndarray:
    inside = EVERYWHERE.copy()
    inside[:down], inside[:, :right] = False, False
    return inside


@pytest.mark.parametrize("shown", KINDS)
@pytest.mark.parametrize("wished", KINDS)
def test_no_kind_is_taken_for_another(shown: str, wished: str) -> None:
    drawn, asked = (Background(kind, ("teal", "red")[: 1 if kind == "plain" else 2]) for kind in (shown, wished))
    picture = background(drawn, Pattern(45.0, 34.0, 11.0)).astype(np.uint8)
    assert is_shown(picture, EVERYWHERE, asked, BLUE) == (shown == wished)

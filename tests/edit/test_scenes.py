"""Scenes are values: the same one is the same picture, and another word changes what the word names and no more."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from fastdiff.models.scene_colours import COLOURS
from fastdiff.solvers.errors import MissingError
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import KINDS, SIDE, Background, Pattern, Pose, Scene, draw, held_out

FOX = Scene("fox", Background("striped", ("teal", "white")), Pose(80, 60, 70, 10), Pattern(45, 30, 5))


def test_a_seed_fixes_the_scenes_and_their_pictures(renderer: Renderer) -> None:
    first, again, other = (draw(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert np.array_equal(renderer.picture(first), Renderer().picture(again))


def test_another_word_changes_the_region_of_the_object_alone(renderer: Renderer) -> None:
    wolf = replace(FOX, concept="wolf")
    changed = (renderer.picture(FOX) != renderer.picture(wolf)).any(axis=-1)
    touched = (renderer.matte(FOX) > 0) | (renderer.matte(wolf) > 0)
    assert changed.sum() > 1000 and not changed[~touched].any()


def test_another_background_leaves_the_object(renderer: Renderer) -> None:
    night = replace(FOX, background=Background("plain", ("black",)))
    solid = renderer.matte(FOX) == 1
    before, after = renderer.picture(FOX), renderer.picture(night)
    assert solid.sum() > 1000 and np.array_equal(before[solid], after[solid])
    assert (after[renderer.matte(FOX) == 0] == COLOURS["black"]).all()


@pytest.mark.parametrize(("turn", "moved"), [({"x": 76.0}, (16, 0)), ({"y": 62.0}, (0, -8))])
def test_the_pose_places_the_object(renderer: Renderer, turn: dict[str, float], moved: tuple[int, int]) -> None:
    def centre(scene: Scene) -> np.ndarray:
        rows, columns = np.nonzero(renderer.matte(scene) > 0.5)
        return np.array([columns.mean(), rows.mean()])

    there = replace(FOX, pose=replace(FOX.pose, **turn))
    assert np.allclose(centre(there) - centre(FOX), moved, atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_backgrounds_hold_both_colours_in_fair_shares(renderer: Renderer, kind: str) -> None:
    names = ("black", "white")[: 1 if kind == "plain" else 2]
    behind = renderer.picture(replace(FOX, background=Background(kind, names)))[renderer.matte(FOX) == 0]
    light = behind.mean(axis=-1)
    if kind == "plain":
        assert (light < 30).all()
    else:
        assert 0.2 < (light < 128).mean() < 0.8


def test_captions() -> None:
    assert FOX.caption == "fox on a teal and white striped background"
    assert replace(FOX, background=Background("plain", ("orange",))).caption == "fox on an orange background"


def test_the_held_out_pairs_are_a_tenth_and_stay_the_same() -> None:
    two = [Background(kind, pair) for kind in KINDS[1:] for pair in combinations(COLOURS, 2)]
    backgrounds = [Background("plain", (name,)) for name in COLOURS] + two
    pairs = [(concept, background) for concept in CONCEPTS for background in backgrounds]
    assert 0.09 < np.mean([held_out(*pair) for pair in pairs]) < 0.11
    plain = [(concept, name) for concept in ("fox", "pizza") for name in COLOURS]
    never = [pair for pair in plain if held_out(pair[0], Background("plain", pair[1:]))]
    assert never == [("fox", "red"), ("fox", "blue"), ("fox", "white"), ("pizza", "brown")]
    assert all(held_out(c, b) == held_out(c, replace(b, colours=b.colours[::-1])) for c, b in pairs[::97])


def test_scenes_that_train_are_never_of_held_out_pairs() -> None:
    rng = np.random.default_rng(0)
    assert not any(held_out(scene.concept, scene.background) for scene in (draw(rng) for _ in range(500)))
    assert all(held_out(scene.concept, scene.background) for scene in (draw(rng, held=True) for _ in range(50)))


def test_without_spread_the_object_stands_upright_in_the_middle() -> None:
    poses = {draw(np.random.default_rng(seed), spread=0).pose for seed in range(20)}
    assert {(pose.x, pose.y, pose.tilt) for pose in poses} == {(SIDE / 2, SIDE / 2, 0)}


def test_every_concept_has_a_picture_of_its_own(renderer: Renderer) -> None:
    plain = [renderer.picture(replace(FOX, concept=concept)).tobytes() for concept in CONCEPTS]
    assert len(set(plain)) == len(CONCEPTS) >= 120
    assert min(renderer.matte(replace(FOX, concept=concept)).sum() for concept in CONCEPTS) > 500


@pytest.mark.parametrize("font", [Path("nowhere.ttf"), Path(__file__)])
def test_without_the_font_there_is_one_sentence(font: Path) -> None:
    with pytest.raises(MissingError, match="fonts-noto-color-emoji"):
        Renderer(font)

"""The shape measure against pictures whose order is known."""

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from benchmarks.edit.shape import ShapeMeasure, ShapeScore
from benchmarks.edit.shape_controls import CONTROLS
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import Background, Scene, draw

SCENES = 10


@pytest.fixture(scope="module")
def measure(renderer: Renderer) -> ShapeMeasure:
    return ShapeMeasure(renderer)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(11)
    return [draw(rng, held=True) for _ in range(SCENES)]


@pytest.fixture(scope="module")
def scores(measure: ShapeMeasure, renderer: Renderer, scenes: list[Scene]) -> dict[str, list[ShapeScore]]:
    return {
        name: [measure(control(renderer, scene), scene.concept) for scene in scenes]
        for name, control in CONTROLS.items()
    }


def test_controls_are_in_order(scores: dict[str, list[ShapeScore]]) -> None:
    psnr = {name: fmean(score.psnr for score in found) for name, found in scores.items()}
    edges = {name: fmean(score.edges for score in found) for name, found in scores.items()}
    blobs = ("tiles of 16 px", "disc of its mean colour")
    for ordered in (psnr, edges):
        assert ordered["true render"] > ordered["true emoji, blurred by 4 px"]
        for blob in blobs:
            assert ordered["true emoji, blurred by 4 px"] > ordered[blob] > ordered["unrelated emoji"]
    assert psnr["true render"] > 24 and psnr["unrelated emoji"] < 11
    assert edges["true render"] > 0.95 and edges["unrelated emoji"] < 0.5


def test_the_pose_of_a_true_render_is_found(scores: dict[str, list[ShapeScore]], scenes: list[Scene]) -> None:
    for score, scene in zip(scores["true render"], scenes, strict=True):
        assert abs(score.pose.x - scene.pose.x) < 1.5 and abs(score.pose.y - scene.pose.y) < 1.5
        assert abs(score.pose.side - scene.pose.side) < 4


def test_a_pose_of_the_grid_is_found_exactly(measure: ShapeMeasure, renderer: Renderer, scenes: list[Scene]) -> None:
    scene = scenes[0]
    exact = replace(scene, pose=replace(scene.pose, side=100, x=60, y=70, tilt=4))
    score = measure(renderer.picture(exact), exact.concept)
    assert score.pose == exact.pose and score.edges == pytest.approx(1, abs=1e-3)


def test_the_background_hardly_counts(measure: ShapeMeasure, renderer: Renderer, scenes: list[Scene]) -> None:
    scene = scenes[0]
    pictures = [
        renderer.picture(replace(scene, background=Background("plain", (colour,)))) for colour in ("black", "white")
    ]
    first, second = (measure(picture, scene.concept) for picture in pictures)
    assert first.psnr == pytest.approx(second.psnr, abs=3)  # through soft outlines


def test_the_old_emoji_fits_the_new_one_worse(measure: ShapeMeasure, renderer: Renderer, scenes: list[Scene]) -> None:
    old = renderer.picture(replace(scenes[0], concept="fox"))
    assert measure(old, "fox").psnr > measure(old, "cactus").psnr + 8

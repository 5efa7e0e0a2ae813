"""The recognisers that are stored, and how they were trained."""

import hashlib
import json
from dataclasses import asdict, replace
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from samples import sample_scenes

from fastdiff.cli.main import main
from fastdiff.models.recogniser import Reading, Recogniser, bundled, load
from fastdiff.solvers.errors import UsageError
from fastdiff.training.card import without_machine
from fastdiff.training.edit import recogniser_card
from fastdiff.training.edit.augment import augment, outlier
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.recogniser import (
    LABELS,
    LabelledScenes,
    TrainOptions,
    draw_for,
    fitted_codec,
    labels_of,
    uniform_labels,
)
from fastdiff.training.edit.recogniser_card import is_right
from fastdiff.training.edit.render import Renderer, emoji_font
from fastdiff.training.edit.scenes import Background, Pattern, Pose, Scene, draw, held_out, pair_hash

SHIPPED = Path(str(files("fastdiff.data"))) / "recogniser.safetensors"
JUDGE = Path(__file__).parents[2] / "benchmarks" / "edit" / "judge.safetensors"
FOX = Scene("fox", Background("dotted", ("teal", "white")), Pose(80, 64, 64, 0), Pattern(45, 30, 5))


def card(weights: Path) -> dict:
    return json.loads(weights.with_suffix(".json").read_text())


def words(caption: str) -> set[str]:
    return set(caption.split()) - {"a", "an"}


@pytest.mark.parametrize("path", [SHIPPED, JUDGE], ids=["shipped", "judge"])
def test_the_stored_weights_are_those_of_their_card(path: Path) -> None:
    content, tensors = path.read_bytes(), load_file(path)
    assert len(content) == card(path)["bytes"] < 2e6
    assert hashlib.sha256(content).hexdigest() == card(path)["sha256"]
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert sum(value.numel() for value in tensors.values()) == card(path)["parameters"]
    assert len(tensors["trunk.0.weight"]) == card(path)["recipe"]["width"]
    assert load(path).labels == LABELS


@pytest.mark.parametrize("path", [SHIPPED, JUDGE], ids=["shipped", "judge"])
def test_options_make_the_recipe_of_a_stored_card_again(path: Path) -> None:
    options = TrainOptions(folder=path.parent, font=path, **card(path)["recipe"])
    assert without_machine(asdict(options), "folder", "font") == card(path)["recipe"]


def test_the_judge_is_another_and_right_on_true_renders() -> None:
    ours, judge = card(SHIPPED), card(JUDGE)
    assert ours["recipe"]["seed"] % 2 != judge["recipe"]["seed"] % 2
    assert ours["recipe"]["width"] != judge["recipe"]["width"]
    assert judge["scores"]["scenes"] >= 1000 and judge["scores"]["renders"]["concept"] >= 0.97


@pytest.mark.parametrize("path", [SHIPPED, JUDGE], ids=["shipped", "judge"])
def test_the_sample_scenes_are_recognised(path: Path) -> None:
    """At least eleven of the twelve. Without the order of their words: only dots have one."""
    scenes = sample_scenes()
    readings = load(path).read(torch.stack(list(scenes.values())))
    assert sum(words(reading.caption) == words(true) for reading, true in zip(readings, scenes, strict=True)) >= 11


def test_fresh_scenes_are_captioned_as_often_as_the_card_says(renderer: Renderer) -> None:
    rng = np.random.default_rng(5)
    scenes = [draw(rng, held=True) for _ in range(100)]
    readings = bundled().read(torch.stack([as_tensor(renderer.picture(scene)) for scene in scenes]))
    right = np.mean([is_right(*pair) for pair in zip(readings, scenes, strict=True)])
    assert right > card(SHIPPED)["scores"]["renders"]["caption"] - 0.08


def test_the_ground_of_dots_is_named_first(renderer: Renderer) -> None:
    for colours in (("teal", "white"), ("white", "teal")):
        scene = replace(FOX, background=replace(FOX.background, colours=colours))
        assert bundled().read(as_tensor(renderer.picture(scene))[None])[0].caption == scene.caption


def test_a_caption_is_right_when_every_word_is() -> None:
    true = Reading("fox", "dotted", ("teal", "white"), 1.0, 1.0)
    stripes = replace(FOX, background=replace(FOX.background, kind="striped"))
    turned = replace(true, colours=("white", "teal"))
    assert is_right(true, FOX) and not is_right(turned, FOX)
    assert is_right(replace(turned, kind="striped"), stripes)
    assert not is_right(replace(true, concept="wolf"), FOX) and not is_right(true, stripes)


def test_other_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    for path in (tmp_path / "none.safetensors", text, SHIPPED.with_name("docclean.safetensors")):
        with pytest.raises(UsageError, match="weights"):
            load(path)


def test_pictures_of_other_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="128"):
        bundled().read(torch.zeros(1, 3, 64, 128))


def test_answers_are_probabilities_and_tell_the_ground(renderer: Renderer) -> None:
    concept, kind, colours = labels_of(FOX)
    assert LABELS.concepts[concept.argmax()] == "fox" and LABELS.kinds[kind.argmax()] == "dotted"
    assert colours[LABELS.colours.index("teal")] > colours[LABELS.colours.index("white")] > 0
    plain = replace(FOX, background=Background("plain", ("red",)))
    for labels in (*labels_of(FOX), *uniform_labels(), *labels_of(plain)):
        assert labels.sum() == pytest.approx(1)
    assert all(labels.max() == labels.min() for labels in uniform_labels())


def test_even_and_odd_seeds_learn_from_different_pairs() -> None:
    rng = np.random.default_rng(0)
    for seed in (0, 1, 6):
        pairs = [(scene.concept, scene.background) for scene in (draw_for(rng, seed) for _ in range(60))]
        assert {pair_hash(*pair) // 10 % 2 for pair in pairs} == {seed % 2}
        assert not any(held_out(*pair) for pair in pairs)


def test_the_stream_is_the_same_every_time_and_some_of_it_is_no_scene(renderer: Renderer) -> None:
    stream = LabelledScenes(emoji_font(), seed=3)
    first, again = (list(islice(stream, 60)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    strangers = np.mean([concept.max() < 0.5 for _, concept, _, _ in first])
    assert 0.02 < strangers < 0.4
    assert all(picture.shape == (3, 128, 128) and picture.abs().max() <= 1 for picture, *_ in first)


def test_augmentation_leaves_the_scene_recognisable(renderer: Renderer) -> None:
    codec, rng, picture = fitted_codec(emoji_font()), np.random.default_rng(0), renderer.picture(FOX)
    augmented = [augment(picture, rng, codec) for _ in range(60)]
    errors = [np.square(one.astype(float) - picture).mean() for one in augmented]
    assert 0.1 < np.mean([error == 0 for error in errors]) < 0.5
    assert np.max(errors) < 65**2 and {(one.shape, one.dtype.name) for one in augmented} == {((128, 128, 3), "uint8")}


def test_strangers_are_not_recognised_with_confidence(renderer: Renderer) -> None:
    rng = np.random.default_rng(1)
    recent = [renderer.picture(draw(rng)) for _ in range(8)]
    pictures = torch.stack([as_tensor(outlier(rng, recent)) for _ in range(60)])
    assert np.median([reading.familiarity for reading in bundled().read(pictures)]) < 0.2


def test_the_command_trains_and_tells_how_often_it_is_right(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recogniser_card, "JUDGED", 10)
    assert main(["train", "recogniser", "--folder", str(tmp_path), "--width", "16", "--steps", "2"]) == 0
    told = card(tmp_path / "recogniser.safetensors")
    assert told["recipe"]["steps"] == 2 and told["recipe"]["width"] == 16 and told["scores"]["scenes"] == 10
    assert str(tmp_path) not in json.dumps(told)
    assert isinstance(load(tmp_path / "recogniser.safetensors"), Recogniser)

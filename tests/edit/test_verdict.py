"""What counts as seen in an edited scene, on true renders of other scenes than were asked for."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from fastdiff.apps.edit import background_fit
from fastdiff.apps.edit.scene_prompt import Background, ScenePrompt, complaint, complete_prompt, near, parse
from fastdiff.apps.edit.shape import EmojiShapes
from fastdiff.apps.edit.verdict import Judge, Thresholds, Tools, Verdict
from fastdiff.models.recogniser import bundled
from fastdiff.models.scene_colours import COLOURS
from fastdiff.training.edit import scenes
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.recogniser import LABELS
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import KINDS, Pattern, Pose, Scene, draw

POSE, PATTERN = Pose(100, 66, 62, 4), Pattern(45, 34, 11)
DOG = Scene("dog face", scenes.Background("plain", ("blue",)), POSE, PATTERN)
FOX = replace(DOG, concept="fox")
STRIPES = replace(DOG, background=scenes.Background("striped", ("teal", "white")))
Judged = Callable[[Scene, Scene, Tensor], Verdict]


@pytest.fixture(scope="module")
def shapes() -> EmojiShapes:
    return EmojiShapes(LABELS.concepts)


@pytest.fixture(scope="module")
def judged(renderer: Renderer, shapes: EmojiShapes) -> Judged:
    """The verdict on an edit of one scene to another with this result (3, H, W)."""
    tools = Tools(bundled(), shapes, Thresholds())

    def verdict(source: Scene, wished: Scene, result: Tensor) -> Verdict:
        before = as_tensor(renderer.picture(source))[None]
        old, new = (parse(scene.caption, LABELS) for scene in (source, wished))
        with torch.inference_mode():
            return Judge(before, old, new, None, tools)(result)

    return verdict


def test_colours_are_those_of_the_scenes_that_trained_the_model() -> None:
    assert set(LABELS.colours) == set(COLOURS) and set(LABELS.kinds) == set(KINDS)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("fox on a teal and white striped background", ScenePrompt("fox", Background("striped", ("teal", "white")))),
        ("A Green Heart on a red background", ScenePrompt("green heart", Background("plain", ("red",)))),
        ("fox", ScenePrompt("fox", None)),
        ("a red background", ScenePrompt(None, Background("plain", ("red",)))),
        ("foxes on a red background", ScenePrompt(None, Background("plain", ("red",)), ("foxes",))),
        ("fox and owl on a red background", ScenePrompt("fox", Background("plain", ("red",)), ("owl",))),
    ],
)
def test_prompts_are_read_as_concept_and_background(prompt: str, expected: ScenePrompt) -> None:
    assert parse(prompt, LABELS) == expected


def test_every_caption_of_a_scene_is_understood() -> None:
    rng = np.random.default_rng(0)
    for scene in (draw(rng) for _ in range(100)):
        read = parse(scene.caption, LABELS)
        assert (read.concept, read.background) == (scene.concept, Background(*vars(scene.background).values()))
        assert complaint(read, LABELS) is None


def test_near_words_hold_the_unknown_one_or_are_spelt_alike() -> None:
    assert near("cat", LABELS)[0] == "cat face" and "sunflower" in near("sunflowr", LABELS)
    assert near("heart", LABELS)[0].endswith("heart") and near("xyzzy", LABELS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_background_fits_its_own_kind_and_no_other(kind: str, renderer: Renderer, shapes: EmojiShapes) -> None:
    rng, least = np.random.default_rng(4), Thresholds()
    colours = ("purple",) if kind == "plain" else ("purple", "yellow")
    for _ in range(6):
        scene = replace(draw(rng), background=scenes.Background(kind, colours))
        picture = renderer.picture(scene)
        behind = cv2.dilate((renderer.matte(scene) > 0.02).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
        for other in KINDS:
            wished = Background(other, ("purple",) if other == "plain" else ("purple", "yellow"))
            found = background_fit.fit(picture, behind, wished)
            most = least.plain if other in ("plain", "gradient") else least.patterned
            fits = found.distance <= most and found.is_pattern(least.pattern)
            assert fits == (other == kind), (kind, other, found)
        wrong = background_fit.fit(picture, behind, Background(kind, ("teal", "red")[: len(colours)]))
        assert wrong.distance > (least.plain if kind in ("plain", "gradient") else least.patterned)


def test_a_true_answer_has_everything(judged: Judged, renderer: Renderer) -> None:
    for source, wished in ((DOG, FOX), (DOG, STRIPES), (DOG, replace(STRIPES, concept="owl")), (STRIPES, STRIPES)):
        verdict = judged(source, wished, as_tensor(renderer.picture(wished)))
        assert verdict.missing == (), wished.caption
        assert (verdict.shape is None) == (source.concept == wished.concept)


def test_what_was_not_done_is_missing(judged: Judged, renderer: Renderer) -> None:
    unchanged = as_tensor(renderer.picture(DOG))
    assert judged(DOG, FOX, unchanged).missing == (
        "the recogniser does not see 'fox'",
        "its shape is not that of 'fox'",
    )
    assert judged(DOG, STRIPES, unchanged).missing == ("a teal and white striped background is not seen",)
    both = judged(DOG, replace(STRIPES, concept="fox"), as_tensor(renderer.picture(FOX)))
    assert both.missing == ("a teal and white striped background is not seen",)


def test_another_background_is_missing_where_the_mask_holds_the_subject_alone(
    renderer: Renderer, shapes: EmojiShapes
) -> None:
    before = as_tensor(renderer.picture(DOG))[None]
    mask = torch.from_numpy(renderer.matte(DOG) > 0.9).float()[None, None]
    tools = Tools(bundled(), shapes, Thresholds())
    judge = Judge(before, parse(DOG.caption, LABELS), parse(STRIPES.caption, LABELS), mask, tools)
    with torch.inference_mode():
        missing = judge(before[0]).missing
    assert missing == ("a teal and white striped background has too little room, in the mask and around the subject",)


def test_a_subject_of_thin_parts_that_was_drawn_anew_is_told(judged: Judged, renderer: Renderer) -> None:
    bicycle = replace(DOG, concept="bicycle")
    wished = replace(bicycle, background=STRIPES.background)
    true = as_tensor(renderer.picture(wished))
    blurred = cv2.GaussianBlur(true.movedim(0, -1).numpy(), (0, 0), 2.5)
    assert judged(bicycle, wished, true).missing == ()
    assert "the subject changed too" in judged(bicycle, wished, torch.from_numpy(blurred).movedim(-1, 0)).missing


def test_what_was_to_stay_is_missing_where_it_changed(judged: Judged, renderer: Renderer) -> None:
    elsewhere = replace(FOX, background=scenes.Background("plain", ("purple",)))
    lost = judged(DOG, FOX, as_tensor(renderer.picture(elsewhere))).missing
    assert lost == ("a blue background is not seen all around it", "the background changed too")
    flipped = as_tensor(renderer.picture(STRIPES)).flip(1)
    assert "the subject changed too" in judged(DOG, STRIPES, flipped).missing


def test_a_blob_in_the_right_colours_is_no_shape(judged: Judged, renderer: Renderer) -> None:
    tiles = cv2.resize(renderer.picture(FOX), (8, 8), interpolation=cv2.INTER_AREA)
    blob = cv2.resize(tiles, (128, 128), interpolation=cv2.INTER_NEAREST)
    assert "its shape is not that of 'fox'" in judged(DOG, FOX, as_tensor(blob)).missing


def test_shapes_are_found_where_they_are(renderer: Renderer, shapes: EmojiShapes) -> None:
    rng = np.random.default_rng(6)
    for scene in (draw(rng, held=True) for _ in range(8)):
        picture, opaque = renderer.picture(scene), renderer.matte(scene) > 0.5
        found = shapes.fit(picture, scene.concept)
        other = shapes.fit(picture, LABELS.concepts[(LABELS.concepts.index(scene.concept) + 63) % 126])
        assert found.psnr > max(16, other.psnr + 2)
        assert (found.opaque & opaque).sum() > 0.7 * (found.opaque | opaque).sum()


def test_the_better_of_two_verdicts_lacks_less() -> None:
    whole, none = Verdict((), 0.6, 15.5, 15.0), Verdict(("a", "b"), 1.0, 30.0, 5.0)
    assert whole.rank > none.rank and replace(whole, concept_probability=0.9).rank > whole.rank


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("cat face", "cat face on a teal background"),
        ("a red and white striped background", "fox on a red and white striped background"),
        ("cat face on a red background", None),
        ("", None),
        ("cat face on a shiny floor", None),
        ("cat face on a striped background", None),
    ],
)
def test_what_a_prompt_does_not_name_stays(prompt: str, expected: str | None) -> None:
    source = parse("fox on a teal background", LABELS)
    assert complete_prompt(parse(prompt, LABELS), source) == expected
    assert complete_prompt(parse("cat face", LABELS), parse("fox", LABELS)) is None

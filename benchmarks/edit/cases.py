"""Edits with exact answers: scenes of pairs that never trained, and the same scenes with other words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from fastdiff.apps import similarity
from fastdiff.apps.images import picture
from fastdiff.models import recogniser
from fastdiff.models.recogniser import Recogniser
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import Scene, draw, held_out

EDITS = 200
KINDS = ("word", "background", "both", "same")
SEED = 5_000_003
REACH = 5  # pixels around the emoji that belong to its region


@dataclass(frozen=True)
class Case:
    """An edit: pictures (1, 3, H, W) in [-1, 1] before and as they should be after, and where the emoji are."""

    kind: str
    source: Scene
    target: Scene
    before: Tensor
    truth: Tensor
    region: Tensor  # (1, 1, H, W) bool, the emoji of both


def cases(count: int, seed: int = SEED) -> Iterator[Case]:
    """Raises MissingError without the font."""
    renderer, rng = Renderer(), np.random.default_rng(seed)
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        source, target = _pair(rng, kind)
        mattes = np.maximum(renderer.matte(source), renderer.matte(target)) > 0.02
        region = cv2.dilate(mattes.astype(np.uint8), np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)) > 0
        before, truth = (as_tensor(renderer.picture(scene))[None] for scene in (source, target))
        yield Case(kind, source, target, before, truth, torch.from_numpy(region)[None, None])


def of_kind(kind: str, count: int, seed: int = SEED) -> list[Case]:
    """The first `count` edits of a kind of KINDS."""
    return [case for case in cases(len(KINDS) * count, seed) if case.kind == kind]


def swaps(count: int, seed: int = SEED) -> list[Case]:
    """The first `count` edits that change the word alone."""
    return of_kind("word", count, seed)


def _pair(rng: np.random.Generator, kind: str) -> tuple[Scene, Scene]:
    """A scene and what it is edited to, neither of a pair that trained."""
    while True:
        source, other = draw(rng, held=True), draw(rng, held=True)
        target = {
            "word": replace(source, concept=other.concept),
            "background": replace(source, background=other.background),
            "both": replace(source, concept=other.concept, background=other.background),
            "same": source,
        }[kind]
        if held_out(target.concept, target.background) and (kind == "same" or target.caption != source.caption):
            return source, target


def judge() -> Recogniser:
    """The recogniser that no application uses."""
    return recogniser.load(Path(__file__).parent / "judge.safetensors")


def psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """In dB of pictures in [-1, 1], at most 60."""
    compared = (a, b) if where is None else (a[where.expand_as(a)], b[where.expand_as(b)])
    return min(similarity.psnr(*compared), 60.0)


def against_truth(edited: Tensor, case: Case) -> dict[str, float]:
    """PSNR to the exact answer in dB: of the emoji, and of what is behind them."""
    return {"object": psnr(edited, case.truth, case.region), "background": psnr(edited, case.truth, ~case.region)}


def as_picture(colour: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [-1, 1] to (H, W, 3) uint8."""
    return picture.to_uint8(colour[0])

"""The file of a finished recogniser, and the card with its recipe and its scores."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from fastdiff.models.recogniser import Reading, Recogniser, load, save
from fastdiff.training.card import LICENCE, digest, without_machine
from fastdiff.training.edit.card import FONT_LICENCE
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.recogniser import TrainOptions, fitted_codec
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import Scene, draw

JUDGED = 1000  # scenes of held-out pairs that the scores are measured on
AT_ONCE = 50


def pack(recogniser: Recogniser, options: TrainOptions) -> Path:
    """Writes `recogniser.safetensors` with its card `recogniser.json` into the folder of the run, and returns it.

    The card holds no dates and no paths: the same training gives the same card.
    """
    target = options.folder / "recogniser.safetensors"
    save(recogniser, target)
    card = {
        "bytes": target.stat().st_size,
        "sha256": digest(target),
        "licence": LICENCE,
        "parameters": sum(value.numel() for value in recogniser.parameters()),
        "recipe": without_machine(asdict(options), "folder", "font"),
        "data": {"font": {"name": "Noto Color Emoji", "licence": FONT_LICENCE, "sha256": digest(options.font)}},
        "scores": scores(load(target), options.font),
    }
    target.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    return target


@torch.inference_mode()
def scores(recogniser: Recogniser, font: Path) -> dict[str, dict[str, float] | int]:
    """Shares of right concepts and of right captions on true renders, and on those after a round trip of the codec."""
    renderer, codec, rng = Renderer(font), fitted_codec(font), np.random.default_rng(2_000_003)
    scenes = [draw(rng, held=True) for _ in range(JUDGED)]
    renders, coded = [], []
    for first in range(0, JUDGED, AT_ONCE):
        pictures = torch.stack([as_tensor(renderer.picture(scene)) for scene in scenes[first : first + AT_ONCE]])
        renders += recogniser.read(pictures)
        (decoded,) = codec.decode(codec.encode(pictures).latent_dist.mode(), return_dict=False)
        coded += recogniser.read(decoded.clamp(-1, 1))
    return {"scenes": JUDGED, "renders": _right(renders, scenes), "after_codec": _right(coded, scenes)}


def is_right(reading: Reading, scene: Scene) -> bool:
    """True if every word is; except for dotted backgrounds, the order of the two colours does not matter."""
    read, true = reading.colours, scene.background.colours
    if scene.background.kind != "dotted":
        read, true = tuple(sorted(read)), tuple(sorted(true))
    return (reading.concept, reading.kind, read) == (scene.concept, scene.background.kind, true)


def _right(readings: list[Reading], scenes: list[Scene]) -> dict[str, float]:
    pairs = list(zip(readings, scenes, strict=True))
    return {
        "concept": sum(reading.concept == scene.concept for reading, scene in pairs) / len(pairs),
        "caption": sum(is_right(reading, scene) for reading, scene in pairs) / len(pairs),
    }

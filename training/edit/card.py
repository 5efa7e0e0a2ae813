"""The folder that `fastdiff edit` reads."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastdiff.models.conv_codec import ConvCodec
from fastdiff.models.scene_colours import COLOURS
from fastdiff.training import card
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.scenes import KINDS, SIDE
from fastdiff.training.edit.train import Trained, TrainOptions

FONT_LICENCE = "OFL-1.1"  # pictures may be made with the font; it is not shipped
INDEX = {
    "_class_name": "PixArtAlphaPipeline",
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "transformer": ["diffusers", "PixArtTransformer2DModel"],
}


def pack(trained: Trained, options: TrainOptions, name: str = "scenes") -> Path:
    """Writes a finished backbone, in half precision, as the folder NAME with its card, and returns that.

    The small patch codec keeps its precision.
    """
    halves = trained.backbone.half()
    codec = trained.codec.half() if isinstance(trained.codec, ConvCodec) else trained.codec
    networks = {"transformer": halves.transformer, "text_encoder": halves.text_encoder, "vae": codec}
    font = {"name": "Noto Color Emoji", "licence": FONT_LICENCE, "sha256": card.digest(options.font)}
    description = {
        "recipe": _recipe(options),
        "data": {
            "side": SIDE,
            "font": font,
            "concepts": list(CONCEPTS),
            "colours": list(COLOURS),
            "backgrounds": list(KINDS),
        },
    }
    kind = type(codec)
    index = {**INDEX, "vae": [kind.__module__, kind.__name__]}
    others = {"tokenizer": trained.tokenizer, "scheduler": trained.scheduler}
    return card.pack(options.folder / name, index, networks, others, description)


def _recipe(options: TrainOptions) -> dict[str, Any]:
    """The options, without paths."""
    recipe = card.without_machine(asdict(options), "folder", "font")
    if options.start_from:
        made = card.recipe(options.start_from / "card.json")
        recipe["start_from"] = card.begun_with(options.start_from, made)
    if options.codec:
        recipe["codec"] = card.begun_with(options.codec, None)
    return recipe

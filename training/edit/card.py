"""The folder that `fastdiff edit` reads, in the layout of diffusers, and the card that says what is in it."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.scenes import COLOURS, KINDS, SIDE
from fastdiff.training.edit.train import Trained, TrainOptions

LICENCE = "Apache-2.0"  # of the weights
FONT_LICENCE = "OFL-1.1"  # pictures may be made with the font; it is not shipped
INDEX = {
    "_class_name": "PixArtAlphaPipeline",
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "transformer": ["diffusers", "PixArtTransformer2DModel"],
    "vae": ["fastdiff.models.patch_codec", "PatchCodec"],
}


def pack(trained: Trained, options: TrainOptions, name: str = "scenes") -> Path:
    """Writes a finished backbone as the folder NAME, with `card.json` in it, and returns that.

    The networks are in half precision. The card holds no dates and no places: the same training gives the same card.
    Its scores are null until a benchmark fills them in.
    """
    target, networks = options.folder / name, trained.backbone.half()
    trained.tokenizer.save_pretrained(target / "tokenizer")
    trained.scheduler.save_pretrained(target / "scheduler")
    parts = {"transformer": networks.transformer, "text_encoder": networks.text_encoder, "vae": trained.codec}
    for part, network in parts.items():
        network.save_pretrained(target / part)
    (target / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    files = sorted(path for path in target.rglob("*") if path.is_file() and path.name != "card.json")
    card = {
        "name": name,
        "licence": LICENCE,
        "bytes": sum(path.stat().st_size for path in files),
        "sha256": {str(path.relative_to(target)): digest(path) for path in files if path.suffix == ".safetensors"},
        "parameters": {part: sum(value.numel() for value in network.parameters()) for part, network in parts.items()},
        "recipe": {key: value for key, value in asdict(options).items() if key not in ("folder", "font", "every")},
        "data": {
            "side": SIDE,
            "font": {"name": "Noto Color Emoji", "licence": FONT_LICENCE, "sha256": digest(options.font)},
            "concepts": list(CONCEPTS),
            "colours": list(COLOURS),
            "backgrounds": list(KINDS),
        },
        "scores": None,
    }
    (target / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return target


def digest(path: Path) -> str:
    """Of a file, as cards tell it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

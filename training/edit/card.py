"""The folder that `fastdiff edit` reads, in the layout of diffusers, and the card that says what is in it."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline

from fastdiff.models.patch_codec import PatchCodec
from fastdiff.training.edit.concepts import CONCEPTS
from fastdiff.training.edit.scenes import COLOURS, KINDS, SIDE
from fastdiff.training.edit.train import Trained, TrainOptions

LICENCE = "Apache-2.0"  # of the weights
FONT_LICENCE = "OFL-1.1"  # pictures may be made with the font; it is not shipped


def pack(trained: Trained, options: TrainOptions, name: str = "scenes") -> Path:
    """Writes a finished backbone as the folder NAME, with `card.json` in it, and returns that.

    The networks are in half precision. The card holds no dates and no places: the same training gives the same card.
    Its scores are null until a benchmark fills them in.
    """
    target, networks = options.folder / name, trained.backbone.half()
    pipeline = PixArtAlphaPipeline(
        tokenizer=trained.tokenizer,
        text_encoder=networks.text_encoder,
        transformer=networks.transformer,
        vae=trained.codec,
        scheduler=trained.scheduler,
    )
    pipeline.register_to_config(vae=(PatchCodec.__module__, PatchCodec.__name__))
    pipeline.save_pretrained(target)
    files = sorted(path for path in target.rglob("*") if path.is_file() and path.name != "card.json")
    parts = {"transformer": networks.transformer, "text_encoder": networks.text_encoder, "vae": trained.codec}
    card = {
        "name": name,
        "licence": LICENCE,
        "bytes": sum(path.stat().st_size for path in files),
        "sha256": {str(path.relative_to(target)): _digest(path) for path in files if path.suffix == ".safetensors"},
        "parameters": {part: sum(value.numel() for value in net.parameters()) for part, net in parts.items()},
        "recipe": {key: value for key, value in asdict(options).items() if key not in ("folder", "font", "every")},
        "data": {
            "side": SIDE,
            "font": {"name": "Noto Color Emoji", "licence": FONT_LICENCE, "sha256": _digest(options.font)},
            "concepts": list(CONCEPTS),
            "colours": list(COLOURS),
            "backgrounds": list(KINDS),
        },
        "scores": None,
    }
    (target / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return target


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

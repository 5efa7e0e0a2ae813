"""The folder of a finished SpeedUpNet: its file, and a card with scores on prompts that never trained."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from fastdiff.models import fingerprint
from fastdiff.models.speedup.adapter import SpeedUpNet
from fastdiff.models.speedup.speedup_file import SpeedUpFile
from fastdiff.training import card
from fastdiff.training.speedup.train import TrainOptions

WEIGHTS, CARD = "speedup.safetensors", "card.json"


def pack(trained: SpeedUpNet, options: TrainOptions, data: str, scores: Mapping[str, object]) -> Path:
    """Write the adapter as the folder `speedup` of the run, and return its file of weights."""
    target = options.folder / "speedup"
    target.mkdir(exist_ok=True)
    base = {"name": Path(options.model).name, "fingerprint": fingerprint.of_folder(options.model)}
    SpeedUpFile(trained, base["name"], base["fingerprint"]).save(target / WEIGHTS)
    about = {
        "name": "speedup",
        "licence": card.LICENCE,
        "bytes": (target / WEIGHTS).stat().st_size,
        "sha256": {WEIGHTS: card.digest(target / WEIGHTS)},
        "parameters": sum(value.numel() for value in trained.parameters()),
        "base": base,
        "recipe": card.without_machine(asdict(options), "folder", "model"),
        "data": data,
        "scores": scores,
    }
    (target / CARD).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    return target / WEIGHTS

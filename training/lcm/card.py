"""The folder of a finished LoRA, in PEFT's layout, and a card with scores on prompts that never trained."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from peft import PeftModel

from fastdiff.models import fingerprint
from fastdiff.training import card
from fastdiff.training.lcm.train import TrainOptions

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "card.json"


def pack(trained: PeftModel, options: TrainOptions, data: str, scores: Mapping[str, object]) -> Path:
    """Write the adapter, in half precision, as the folder `lcm` of the run, and return its file of weights."""
    target = options.folder / "lcm"
    trained.half().save_pretrained(str(target), safe_serialization=True)
    (target / "README.md").unlink(missing_ok=True)  # a form that nobody has filled in
    _without_origin(target / CONFIG)
    recipe = card.without_machine(asdict(options), "folder", "model")
    about = {
        "name": "lcm",
        "licence": card.LICENCE,
        "bytes": (target / WEIGHTS).stat().st_size,
        "sha256": {WEIGHTS: card.digest(target / WEIGHTS)},
        "parameters": sum(value.numel() for name, value in trained.named_parameters() if "lora_" in name),
        "base": {"name": Path(options.model).name, "fingerprint": fingerprint.of_folder(options.model)},
        "recipe": recipe,
        "data": data,
        "scores": scores,
    }
    (target / CARD).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    return target / WEIGHTS


def _without_origin(config: Path) -> None:
    """Remove the path of the base model from a config of PEFT, and sort what PEFT holds in sets."""
    content = json.loads(config.read_text()) | {"base_model_name_or_path": None}
    content["target_modules"] = sorted(content["target_modules"])
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

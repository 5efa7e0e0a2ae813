"""Finished models as folders in the layout of diffusers, with a card that describes them."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

LICENCE = "Apache-2.0"  # of the weights
MACHINE = ("every", "compile", "device")  # options that say how a machine trains, not what is trained


def pack(target: Path, index: Mapping[str, Any], networks: Mapping[str, Any], others: Mapping[str, Any],
         description: Mapping[str, Any]) -> Path:  # fmt: skip
    """Writes the components of a model and `card.json` into the folder `target`, and returns it.

    `index` becomes model_index.json; `others` are parts without weights. The card holds `description`, sizes and
    digests, no dates and no paths: the same training gives the same card. Its scores are null until a benchmark fills
    them in.
    """
    for part, content in (networks | others).items():  # type: ignore[operator]
        content.save_pretrained(target / part)
    for config in target.rglob("config.json"):
        _without_origin(config)
    (target / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    files = sorted(path for path in target.rglob("*") if path.is_file() and path.name != "card.json")
    card = {
        "name": target.name,
        "licence": LICENCE,
        "bytes": sum(path.stat().st_size for path in files),
        "sha256": {str(path.relative_to(target)): digest(path) for path in files if path.suffix == ".safetensors"},
        "parameters": {part: _count(network) for part, network in networks.items()},
        **description,
        "scores": None,
    }
    (target / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return target


def begun_with(weights: Path, recipe: Mapping[str, Any] | None) -> dict[str, Any]:
    """Describes the weights, a file or a folder, that a training began with; `recipe` is how they were made."""
    files = sorted(path for path in weights.rglob("*") if path.is_file()) if weights.is_dir() else [weights]
    joined = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return {"file": weights.name, "sha256": joined, "recipe": recipe}


def recipe(path: Path) -> dict[str, Any]:
    """How the weights of the card at `path` were made; empty without a card."""
    return json.loads(path.read_text()).get("recipe", {}) if path.exists() else {}


def without_machine(options: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """The options of a training for its card.

    Leaves out `without`, infinite limits, for which JSON has no number, and options of the machine alone.
    """
    hidden = {*without, *MACHINE}
    return {name: value for name, value in options.items() if name not in hidden and value != math.inf}


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without_origin(config: Path) -> None:
    """Removes from a config of diffusers the folder that the component was loaded from."""
    content = json.loads(config.read_text())
    if content.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(content, indent=2) + "\n")


def _count(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())

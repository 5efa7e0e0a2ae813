"""The weights file that docclean reads, and the card that describes it."""

import hashlib
import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from fastdiff.models.nafdpm import alphas_cumprod, size_of
from fastdiff.solvers.errors import UsageError
from fastdiff.training.docclean.train import predictor_file

LICENCE = "Apache-2.0"  # of the weights


def pack(folder: Path, name: str = "docclean") -> Path:
    """Join the finished networks of a training folder as `NAME.safetensors`, with its card `NAME.json` beside it.

    The tensors are `predictor.*`, that of the stage ocr if it has trained, and, if it is trained, `denoiser.*`, in half
    precision. The card holds no dates and no paths: the same training gives the same card. Its scores are null until a
    benchmark fills them in.

    Raises UsageError if the predictor is not finished.
    """
    files = {"predictor": predictor_file(folder), "denoiser": folder / "denoiser.safetensors"}
    if not files["predictor"].exists():
        raise UsageError(f"{folder} holds no finished predictor: train it first")
    parts = {role: load_file(file) for role, file in files.items() if file.exists()}
    target = folder / f"{name}.safetensors"
    save_file({f"{stage}.{key}": value for stage, part in parts.items() for key, value in part.items()}, target)
    size = size_of(parts["predictor"])
    card = {
        "name": name,
        "file": target.name,
        "bytes": target.stat().st_size,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "licence": LICENCE,
        "network": {"architecture": "NAF-DPM", "channels": size.channels, "width": size.width, "levels": size.levels},
        "parameters": {role: sum(value.numel() for value in part.values()) for role, part in parts.items()},
        "diffusion_steps": len(alphas_cumprod()),
        "recipe": {role: json.loads(files[role].with_suffix(".json").read_text()) for role in parts},
        "data": json.loads((folder / "pool" / "origin.json").read_text()),
        "scores": None,
    }
    target.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    return target

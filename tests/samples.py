"""The sample scenes that ship, for tests that need no font."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SAMPLES = Path(__file__).parent.parent / "data" / "samples-edit"


def sample_scenes() -> dict[str, Tensor]:
    """Pictures, (3, 128, 128) in [-1, 1], by their captions."""
    captions = json.loads((SAMPLES / "captions.json").read_text())
    return {caption: _read(SAMPLES / name) for name, caption in captions.items()}


def _read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0) / 127.5 - 1

"""How often the guard of the bundled backbone is wrong: fresh scenes that it refuses, photographs that it lets in.

    python -m benchmarks.edit.domain DATA [MODEL]

DATA holds `nips17/images/*.png`; the codec is that of MODEL, a model of scenes. Of what the thresholds are compared
with, percentiles are shown.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from benchmarks.result import Cell, Table
from fastdiff.apps.edit.domain import LEAST_FAMILIARITY, LEAST_PSNR, Evidence, examine
from fastdiff.models import recogniser
from fastdiff.models.registry import load_editable
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import SIDE, draw

SCENES = 1000
SEED = 4_000_003  # of scenes that trained nothing, and set no threshold
COLUMNS = ("pictures", "codec %", "looks %", "either %", "dB: 1 %", "median", "99 %", "looks: 1 %", "median", "99 %")


@torch.inference_mode()
def main(data: Path, model: str = "scenes") -> None:
    backbone, reader = load_editable(model), recogniser.bundled()

    def evidence(picture: np.ndarray) -> Evidence:
        """Of a picture, (SIDE, SIDE, 3) uint8."""
        tensor = as_tensor(picture)[None]
        return examine(tensor, backbone.decode(backbone.encode(tensor)), reader)

    groups = {
        "scenes": scenes(),
        "scenes as JPEG at quality 75": map(compressed, scenes()),
        "photographs": photographs(data / "nips17" / "images"),
    }
    rows = [row(name, list(map(evidence, pictures))) for name, pictures in groups.items()]
    print(Table("outside the domain, by codec or looks, and what they are decided by", ("group", *COLUMNS), rows))


def scenes() -> Iterator[np.ndarray]:
    renderer, rng = Renderer(), np.random.default_rng(SEED)
    return (renderer.picture(draw(rng)) for _ in range(SCENES))


def compressed(picture: np.ndarray) -> np.ndarray:
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, "JPEG", quality=75)
    return np.array(Image.open(stored))


def photographs(folder: Path) -> Iterator[np.ndarray]:
    """Their middle squares at the size of scenes."""
    for path in sorted(folder.glob("*.png")):
        yield np.array(ImageOps.fit(Image.open(path).convert("RGB"), (SIDE, SIDE)))


def row(name: str, evidence: list[Evidence]) -> tuple[Cell, ...]:
    psnr = np.array([one.psnr for one in evidence])
    familiarity = np.array([one.reading.familiarity for one in evidence])
    by_codec, by_looks = psnr < LEAST_PSNR, familiarity < LEAST_FAMILIARITY
    shares = (100 * float(outside.mean()) for outside in (by_codec, by_looks, by_codec | by_looks))
    levels = np.percentile(np.stack([psnr, familiarity]), (1, 50, 99), axis=1).T.ravel()
    return (name, len(evidence), *shares, *map(float, levels))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

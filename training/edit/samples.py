"""The sample scenes that ship: of held-out pairs, with their captions in `captions.json`.

Run as `python -m fastdiff.training.edit.samples data/samples-edit`.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import draw

COUNT = 12
SEED = 2010  # twelve different concepts, every kind of background at least twice


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    renderer, rng = Renderer(), np.random.default_rng(SEED)
    captions = {}
    for _ in range(COUNT):
        scene = draw(rng, held=True)
        name = f"{scene.concept.replace(' ', '-')}.png"
        Image.fromarray(renderer.picture(scene)).save(folder / name)
        captions[name] = scene.caption
    (folder / "captions.json").write_text(json.dumps(captions, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

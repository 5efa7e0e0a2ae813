"""The sample pages that ship: own prose in held-out fonts, degraded by the training chain, with the true texts.

Run as `python -m fastdiff.training.docclean.samples data/samples`.
"""

import sys
from pathlib import Path

import img2pdf
import numpy as np
from PIL import Image

from fastdiff.training.docclean import textures
from fastdiff.training.docclean.column import Column, held_out_faces, render_column
from fastdiff.training.docclean.degrade import degrade

DPI = 100
PAPER = np.array([1.0, 0.96, 0.86])  # of the colour sample: yellowed


def main(folder: Path) -> None:
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    bank = textures.make_bank(np.random.default_rng(5), count=6, side=1024)
    pages = iter(range(10))

    def page(family: int, glyph_height: float, profile: str) -> tuple[Column, np.ndarray]:
        """Return a page and its degraded pixels, float (H, W)."""
        rng = np.random.default_rng([2026, next(pages)])
        text = render_column(rng, held_out_faces()[family][0], glyph_height, count=18, width=46)
        height, width = text.pixels.shape
        side = max(height, width)
        square = np.full((side, side), 1, np.float32)
        square[:height, :width] = text.pixels / 255
        back = np.ascontiguousarray(square[::-1])
        return text, degrade(rng, square, back, glyph_height / 1.4, bank, profile)[:height, :width]

    text, pixels = page(0, 15, "stain")
    _image(pixels).save(folder / "letter.png", dpi=(DPI, DPI))
    _true(folder, "letter", text)

    text, pixels = page(1, 12, "blur")
    _image(pixels).save(folder / "memo.png", dpi=(DPI, DPI))
    _true(folder, "memo", text)

    text, pixels = page(2, 15, "archive")
    _image(pixels[..., None] * PAPER).save(folder / "notice.jpg", quality=88, dpi=(DPI, DPI))
    _true(folder, "notice", text)

    texts, files = [], []
    for number, (family, profile) in enumerate(((0, "scan"), (1, "stain"))):
        text, pixels = page(family, 14, profile)
        files.append(folder / f"minutes-{number}.jpg")
        _image(pixels).save(files[-1], quality=85, dpi=(DPI, DPI))
        texts.append(text.text)
    (folder / "minutes.pdf").write_bytes(img2pdf.convert([str(file) for file in files], nodate=True))
    (folder / "truth" / "minutes.txt").write_text("\f".join(texts))
    for file in files:
        file.unlink()


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _true(folder: Path, stem: str, text: Column) -> None:
    (folder / "truth" / f"{stem}.txt").write_text(text.text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

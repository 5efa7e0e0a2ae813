"""The pool of clean colour pages that training cuts its patches from."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastdiff.training.docclean import pictures
from fastdiff.training.docclean.colour_page import ColourRenderer
from fastdiff.training.docclean.fonts import by_style, licence
from fastdiff.training.docclean.pool import SIDE
from fastdiff.training.prior.photos import SCIKIT_IMAGE, Photo, listed, read


@dataclass(frozen=True)
class ColourOrigin:
    """What a pool of colour pages was made from."""

    pages: int
    seed: int
    fonts: dict[str, str]  # family -> licence
    photos: dict[str, str]  # file name -> author and licence
    sha256: str  # of the pixels


def fill(folder: Path, pages: int, seed: int) -> ColourOrigin:
    """Renders the pool unless there is one.

    `pages.npy` (pages, SIDE, SIDE, 3) uint8, `papers.npy` (pages, 3) uint8, `x_heights.npy` (pages,) float32,
    `kinds.json` and `origin.json`. Raises MissingError where fonts or photographs are not installed.
    """
    finished, record = folder / "pages.npy", folder / "origin.json"
    if not finished.exists():
        folder.mkdir(parents=True, exist_ok=True)
        styles, photos = by_style(), _photos(held_out=False)
        renderer = ColourRenderer(styles, photographs(held_out=False), SIDE)
        partial = folder / "partial.npy"
        pixels = np.lib.format.open_memmap(partial, "w+", np.uint8, (pages, SIDE, SIDE, 3))
        papers, x_heights, kinds = np.empty((pages, 3), np.uint8), np.empty(pages, np.float32), []
        for index in range(pages):
            page = renderer.page(np.random.default_rng([seed, index]))
            pixels[index], papers[index], x_heights[index] = page.pixels, page.paper, page.x_height
            kinds.append(page.kind)
        pixels.flush()
        np.save(folder / "papers.npy", papers)
        np.save(folder / "x_heights.npy", x_heights)
        (folder / "kinds.json").write_text(json.dumps(kinds))
        families = sorted({faces[0].family for style in styles.values() for faces in style})
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whose = {photo.path.name: f"{photo.author}, {photo.licence}" for photo in photos}
        origin = ColourOrigin(pages, seed, {family: licence(family) for family in families}, whose, digest)
        record.write_text(json.dumps(asdict(origin), indent=2, ensure_ascii=False))
        partial.rename(finished)
    return ColourOrigin(**json.loads(record.read_text()))


def photographs(held_out: bool) -> list[np.ndarray]:
    """Those that pages of the pool are made with, or the few that never train: RGB uint8 (H, W, 3).

    Raises MissingError where none is installed.
    """
    return pictures.shrink(read(_photos(held_out)))


def _photos(held_out: bool) -> tuple[Photo, ...]:
    """scikit-image's photographs are held out."""
    return tuple(photo for photo in listed() if (photo.path.name in SCIKIT_IMAGE) == held_out)

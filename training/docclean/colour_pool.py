"""The pool of clean colour pages for cutting patches, and the record of their origin."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastdiff.training.docclean import pictures
from fastdiff.training.docclean.colour_page import ColourPage, ColourRenderer
from fastdiff.training.docclean.fonts import faces_by_style, licence
from fastdiff.training.docclean.pool import SIDE
from fastdiff.training.prior.photos import SCIKIT_IMAGE, Photo, listed_photos, read


@dataclass(frozen=True)
class ColourPool:
    """Clean pages, and the paper, x-height and kind of each."""

    pages: np.ndarray  # (N, SIDE, SIDE, 3) uint8, on disk
    papers: np.ndarray  # (N, 3) uint8
    x_heights: np.ndarray  # (N,) pixels
    kinds: list[str]


@dataclass(frozen=True)
class ColourOrigin:
    """The origin of a pool of colour pages."""

    pages: int
    seed: int
    fonts: dict[str, str]  # family -> licence
    photos: dict[str, str]  # file name -> author and licence
    sha256: str  # of the pixels


def fill(folder: Path, pages: int, seed: int) -> None:
    """Render the pool unless there is one, and write its `origin.json`.

    Raises MissingError if fonts or photographs are not installed.
    """
    if (folder / "pages.npy").exists():
        return
    styles, photos = faces_by_style(), _photos(held_out=False)
    renderer = ColourRenderer(styles, load_photographs(held_out=False), SIDE)
    store(folder, (renderer.page(np.random.default_rng([seed, index])) for index in range(pages)), pages)
    families = sorted({faces[0].family for style in styles.values() for faces in style})
    whose = {photo.path.name: f"{photo.author}, {photo.licence}" for photo in photos}
    with (folder / "pages.npy").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = ColourOrigin(pages, seed, {family: licence(family) for family in families}, whose, digest)
    (folder / "origin.json").write_text(json.dumps(asdict(origin), indent=2, ensure_ascii=False))


def store(folder: Path, drawn: Iterable[ColourPage], count: int) -> None:
    """Write `count` pages as `pages.npy`, `papers.npy`, `x_heights.npy` and `kinds.json`; `pages.npy` comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial.npy"
    pixels = np.lib.format.open_memmap(partial, "w+", np.uint8, (count, SIDE, SIDE, 3))
    papers, x_heights, kinds = np.empty((count, 3), np.uint8), np.empty(count, np.float32), []
    for index, page in enumerate(drawn):
        pixels[index], papers[index], x_heights[index] = page.pixels, page.paper, page.x_height
        kinds.append(page.kind)
    pixels.flush()
    np.save(folder / "papers.npy", papers)
    np.save(folder / "x_heights.npy", x_heights)
    (folder / "kinds.json").write_text(json.dumps(kinds))
    partial.rename(folder / "pages.npy")


def open_pool(folder: Path) -> ColourPool:
    """Open the pool in a folder."""
    return ColourPool(
        np.load(folder / "pages.npy", mmap_mode="r"),
        np.load(folder / "papers.npy"),
        np.load(folder / "x_heights.npy"),
        json.loads((folder / "kinds.json").read_text()),
    )


def load_photographs(held_out: bool) -> list[np.ndarray]:
    """Read the photographs of the pool, or the few held out: RGB uint8 (H, W, 3).

    Raises MissingError if none is installed.
    """
    return pictures.shrink(read(_photos(held_out)))


def _photos(held_out: bool) -> tuple[Photo, ...]:
    """Return the installed photographs; those of scikit-image are held out."""
    return tuple(photo for photo in listed_photos() if (photo.path.name in SCIKIT_IMAGE) == held_out)

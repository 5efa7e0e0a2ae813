"""The pool of clean pages for cutting patches, and the record of their origin."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from fastdiff.solvers.errors import UsageError
from fastdiff.training.docclean.fonts import faces_by_style, licence
from fastdiff.training.docclean.page import Page, Renderer
from fastdiff.training.docclean.user_pages import page_squares

SIDE = 768  # pixels of a page


@dataclass(frozen=True)
class Origin:
    """The origin of a pool."""

    pages: int  # in all
    own: int  # squares of the user's pages, the first of the pool; the others are rendered
    seed: int
    fonts: dict[str, str]  # family -> licence, of the rendered pages
    sha256: str  # of the pixels


def fill(folder: Path, pages: int, seed: int, own: Path | None = None) -> Origin:
    """Make the pool unless there is one: `pages.npy` (pages, SIDE, SIDE) uint8, `x_heights.npy`, `origin.json`.

    Pages in the folder `own` come first, rendered ones fill the rest. A pool without a record counts as rendered.

    Raises UsageError for `own` pages that cannot be read or that an earlier pool does not hold, and MissingError if
    fonts are needed and not installed.
    """
    finished, record = folder / "pages.npy", folder / "origin.json"
    if not finished.exists():
        folder.mkdir(parents=True, exist_ok=True)
        mine = list(islice(page_squares(own, SIDE), pages)) if own else []
        partial = folder / "partial.npy"
        _draw(partial, folder / "x_heights.npy", chain(mine, _rendered(range(len(mine), pages), seed)), pages)
        _record(record, partial, len(mine), seed)
        partial.rename(finished)
    elif not record.exists():
        _record(record, finished, 0, seed)
    origin = Origin(**json.loads(record.read_text()))
    if own and not origin.own:
        raise UsageError(f"{folder} was filled without the pages of {own}: choose another folder for this run")
    return origin


def _rendered(indices: range, seed: int) -> Iterator[Page]:
    if indices:
        renderer = Renderer(faces_by_style(), SIDE)
        yield from (renderer.page(np.random.default_rng([seed, index])) for index in indices)


def _draw(target: Path, heights: Path, drawn: Iterator[Page], pages: int) -> None:
    pixels = np.lib.format.open_memmap(target, "w+", np.uint8, (pages, SIDE, SIDE))
    x_heights = np.empty(pages, np.float32)
    for index, page in enumerate(drawn):
        pixels[index], x_heights[index] = page.pixels, page.x_height
    pixels.flush()
    np.save(heights, x_heights)


def _record(target: Path, pixels: Path, own: int, seed: int) -> None:
    pages = len(np.load(pixels, mmap_mode="r"))
    styles = faces_by_style().values() if own < pages else ()
    families = sorted({faces[0].family for families in styles for faces in families})
    with pixels.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = Origin(pages, own, seed, {family: licence(family) for family in families}, digest)
    target.write_text(json.dumps(asdict(origin), indent=2))

"""The images of Netpbm: PBM of one bit, PGM of grey, PPM of colour; PNM is the one that fits."""

import re
from pathlib import Path

import numpy as np

from fastdiff.solvers.errors import OutputError

KINDS = ("pbm", "pgm", "ppm", "pnm")
HEAD = re.compile(rb"P[1-6]\s*\n((?:#[^\n]*\n)+)")
LONGEST_COMMENT = 10_000  # bytes


def comment(path: Path) -> bytes | None:
    """Return the comment behind the first line of a file."""
    with path.open("rb") as file:
        found = HEAD.match(file.read(LONGEST_COMMENT))
    return b"\n".join(line[1:].strip() for line in found[1].splitlines()) if found else None


def encode(pixels: np.ndarray, kind: str, comment: str = "") -> bytes:
    """Encode pixels: bool (H, W) with True for white, grey (H, W) or RGB (H, W, 3), uint8 or uint16.

    `kind` is "pbm", "pgm", "ppm" or "pnm". Raises OutputError for pixels that it cannot hold without loss.
    """
    if kind == "pnm":
        kind = "pbm" if pixels.dtype == np.bool_ else "pgm" if pixels.ndim == 2 else "ppm"
    height, width = pixels.shape[:2]
    size = "".join(f"# {line}\n" for line in comment.splitlines()) + f"{width} {height}\n"
    if kind == "pbm":
        if pixels.dtype != np.bool_:
            raise OutputError("PBM holds black and white, and the page has other colours: give --format png")
        return f"P4\n{size}".encode() + np.packbits(~pixels, axis=1).tobytes()
    if kind == "pgm" and pixels.ndim == 3:
        raise OutputError("PGM holds grey, and the page is in colour: give --format png")
    if pixels.dtype == np.bool_:
        pixels = pixels * np.uint8(255)
    if kind == "ppm" and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    magic, most = "P5" if kind == "pgm" else "P6", np.iinfo(pixels.dtype).max
    return f"{magic}\n{size}{most}\n".encode() + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()

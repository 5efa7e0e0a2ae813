"""Netpbm's images: PBM of one bit, PGM of grey, PPM of colour; PNM is whichever fits."""

import numpy as np

from fastdiff.solvers.errors import OutputError


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """The file of pixels: bool (H, W) with True for white, grey (H, W) or RGB (H, W, 3), uint8 or uint16.

    `kind` is "pbm", "pgm", "ppm" or "pnm". Raises OutputError for what it cannot hold without loss.
    """
    if kind == "pnm":
        kind = "pbm" if pixels.dtype == np.bool_ else "pgm" if pixels.ndim == 2 else "ppm"
    height, width = pixels.shape[:2]
    if kind == "pbm":
        if pixels.dtype != np.bool_:
            raise OutputError("PBM holds one bit a pixel, and the page has more: give --format png")
        return f"P4\n{width} {height}\n".encode() + np.packbits(~pixels, axis=1).tobytes()
    if kind == "pgm" and pixels.ndim == 3:
        raise OutputError("PGM holds grey, and the page is in colour: give --format png")
    if pixels.dtype == np.bool_:
        pixels = pixels * np.uint8(255)
    if kind == "ppm" and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    magic, most = "P5" if kind == "pgm" else "P6", np.iinfo(pixels.dtype).max
    return f"{magic}\n{width} {height}\n{most}\n".encode() + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()

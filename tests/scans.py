"""Plain pages, a network that only lightens them, and docclean's command run with it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image, TiffImagePlugin
from safetensors.torch import save_file

from fastdiff.cli.main import main
from fastdiff.models.nafdpm import Predictor, Size


def striped(ink: int = 20, paper: int = 255) -> np.ndarray:
    """Strokes on paper, uint8 (120, 160)."""
    pixels = np.full((120, 160), paper, np.uint8)
    for row in range(10, 110, 12):
        pixels[row : row + 4, 10:150] = ink
    return pixels


def lightening(folder: Path, level: float) -> Path:
    """Weights of the smallest network there is, which adds `level` to every pixel; 1 makes every page white."""
    net = Predictor(Size(channels=1, width=1, levels=1))
    torch.nn.init.zeros_(net.ending.weight)
    torch.nn.init.constant_(net.get_parameter("ending.bias"), level)
    path = folder / f"lighter{level}.safetensors"
    save_file({f"predictor.{name}": value for name, value in net.state_dict().items()}, path)
    return path


def docclean(weights: Path, *arguments: object) -> int:
    """Writes what the networks make of the pages, without a judge."""
    return judged(weights, *arguments, "--force-clean")


def judged(weights: Path, *arguments: object) -> int:
    """Puts content back, and keeps pages that lost too much of it."""
    chosen = ["--ocr", "none", "--task", "clean", "--weights", str(weights)]
    return main(["docclean", *map(str, arguments), *chosen])


def tiff_pages(file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The pages of a file, each with all its tags."""
    pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
    assert len(pages) == len(file.pages)
    return pages


def save_tiff(path: Path, pages: Iterable[Image.Image | bytes], **settings: Any) -> None:
    """A TIFF by Pillow of images, and of TIFF files of one page."""
    for page in pages:
        with TiffImagePlugin.AppendingTiffWriter(str(path), new=not path.exists()) as file:
            if isinstance(page, bytes):
                file.write(page)
            else:
                page.save(file, format="TIFF", compression=page.info.get("compression"), **settings)
            file.newFrame()

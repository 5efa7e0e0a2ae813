"""Pictures to attack: those that fit into memory many times over."""

from pathlib import Path

from torch import Tensor

from fastdiff.apps.images import picture
from fastdiff.solvers.errors import UsageError

MOST_PIXELS = 25_000_000  # of which an attack takes about ten gigabytes


def read(path: Path) -> picture.Picture:
    """Raises UsageError as `picture.read` does, and for one of more than MOST_PIXELS."""
    read = picture.read(path)
    height, width = read.page.pixels.shape[:2]
    if height * width > MOST_PIXELS:
        had, most = height * width / 1e6, MOST_PIXELS / 1e6
        raise UsageError(f"{path.name} has {had:.0f} megapixels: at most {most:.0f} are attacked")
    return read


def to_eight_bits(colour: Tensor) -> Tensor:
    """Return colours (..., H, W) in [-1, 1] as an 8-bit file keeps them, in [0, 1]: torchvision's ToTensor of it."""
    return ((colour + 1) * 127.5).round().clamp(0, 255).contiguous() / 255

"""The photographs of the bundled prior: their paths in Debian's packages, authors and licences.

Packages: mate-backgrounds, plasma-workspace-wallpapers, lxqt-themes, lomiri-wallpapers-16.04; scikit-image brings the
last ones. Drawings and gradients among their pictures are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from fastdiff.solvers.errors import MissingError, UsageError
from fastdiff.training.data_folders import find_data

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
LONG_SIDE = 2048  # pixels at which photographs are kept in memory
LEAST_SIDE = 256  # shorter photographs are left out


@dataclass(frozen=True)
class Photo:
    """A photograph; `author` and `licence` are as its package states them."""

    path: Path
    author: str
    licence: str


_MATE = "backgrounds/mate/nature"
_PLASMA = "wallpapers"
_LXQT = "lxqt/wallpapers"
_LOMIRI = "backgrounds"
_PLASMA_AUTHORS = {
    "BytheWater": "Maciej Wiklo",
    "ColdRipple": "Risto Saukonpää",
    "ColorfulCups": "Dmitri Popov",
    "DarkestHour": "Risto Saukonpää",
    "EveningGlow": "Ian Hex",
    "FallenLeaf": "Martin Klapetek",
    "Kite": "Risto Saukonpää",
    "OneStandsOut": "Risto Saukonpää",
    "Path": "Risto Saukonpää",
    "summer_1am": "Risto Saukonpää",
}
LISTED = (  # by their paths in a folder of shared data
    *(
        Photo(Path(f"{_MATE}/{name}.jpg"), author, "GPL-2.0-or-later")
        for name, author in {
            "Aqua": "Charles Barbin",
            "Blinds": "Lennart Poettering, Andrea Cimitan",
            "Dune": "Marco Cogoni, Hylke Bons",
            "Garden": "Charles Barbin",
            "GreenMeadow": "Timothy Schellhase, Lapo Calamandrei",
            "LadyBird": "Charles Barbin",
            "RainDrops": "blackcombwhistler07",
            "Storm": "Sergey Nazarov",
            "TwoWings": "Charles Barbin, Hylke Bons",
            "Wood": "Jean-François Fortin Tam",
            "YellowFlower": "Charles Barbin",
        }.items()
    ),
    *(
        Photo(Path(f"{_PLASMA}/{name}/contents/images/2560x1600.jpg"), author, "LGPL-3.0")
        for name, author in _PLASMA_AUTHORS.items()
    ),
    *(
        Photo(Path(f"{_LXQT}/{name}"), "Razor team", "LGPL-2.1-or-later")
        for name in (
            "Valendas.png",
            "after-the-rain.jpg",
            "appleflower.png",
            "beam.png",
            "butterfly.png",
            "cloud.png",
            "drop.png",
            "flowers.png",
            "fog.jpg",
            "this-is-not-windows.jpg",
        )
    ),
    *(
        Photo(Path(f"{_LOMIRI}/{name}.jpg"), author, licence)
        for name, author, licence in (
            ("Bridge_by_Sander_Klootwijk", "Sander Klootwijk", "CC-BY-SA-4.0"),
            ("Dragonfly_by_Bolly", "Bolly", "CC-BY-SA-4.0"),
            ("Picture_0B_by_freespace", "Trevor Freespace", "CC-BY-4.0"),
            ("Picture_1A_by_freespace", "Trevor Freespace", "CC-BY-4.0"),
            ("Wine_by_Jakkub_Mede", "Jakub Mede", "CC-BY-4.0"),
            ("aitzgorri_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
            ("free_by_Peter_Nerlich", "Peter Nerlich", "CC-BY-SA-4.0"),
            ("friends_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
            ("greentock_by_Peter_Nerlich", "Peter Nerlich", "CC-BY-SA-4.0"),
            ("life_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
            ("picosdeeuropa_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
            ("seeding_by_Clements_Engelhardt", "Clemens Engelhardt", "CC0-1.0"),
            ("sunset_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
        )
    ),
)
SCIKIT_IMAGE = {
    "astronaut.png": ("NASA", "public domain"),
    "chelsea.png": ("Stéfan van der Walt", "CC0-1.0"),
    "coffee.png": ("Rachel Michetti", "CC0-1.0"),
    "rocket.jpg": ("SpaceX", "CC0-1.0"),
}


def listed_photos() -> tuple[Photo, ...]:
    """The installed photographs of LISTED, and those of scikit-image. Raises MissingError without any of LISTED."""
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None
    samples = Path(spec.origin).parent / "data"
    found = tuple(replace(photo, path=path) for photo in LISTED if (path := find_data(photo.path)))
    if not found:
        raise MissingError(
            "no photographs to learn from: install mate-backgrounds, plasma-workspace-wallpapers, lxqt-themes and "
            "lomiri-wallpapers-16.04, or give your own with --photos"
        )
    return found + tuple(Photo(samples / name, *whose) for name, whose in SCIKIT_IMAGE.items())


def photos_in(folder: Path) -> tuple[Photo, ...]:
    """All pictures of a folder and those in it. Raises UsageError where there are none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"{folder} holds no pictures to learn from")
    return tuple(Photo(path, "not stated", "your own") for path in paths)


def read(photos: tuple[Photo, ...]) -> Iterator[np.ndarray]:
    """The photographs (H, W, 3) uint8, at most LONG_SIDE on their longer side; small and broken ones are left out."""
    for photo in photos:
        picture = cv2.imread(str(photo.path), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            continue
        scale = min(1.0, LONG_SIDE / max(picture.shape[:2]))
        if scale < 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if min(picture.shape[:2]) >= LEAST_SIDE:
            yield picture

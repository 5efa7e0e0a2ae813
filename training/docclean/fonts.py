"""Installed fonts by style: for training, and held out for measuring."""

from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

from fastdiff.solvers.errors import MissingError
from fastdiff.training.data_folders import font_folders

# Never rendered for training: benchmarks and samples use these.
HELD_OUT = ("EB Garamond", "Lato", "Courier Prime")

FAMILIES = {
    "serif": (
        "CMU Serif", "CMU Concrete", "CMU Classical Serif", "CMU Serif Extra", "Linux Libertine O", "Nimbus Roman",
        "C059", "P052", "URW Bookman", "Charis SIL", "Caladea", "DejaVu Serif", "FreeSerif", "Gentium Plus",
        "Liberation Serif", "Noto Serif", "PT Serif", "Old Standard TT", "GFS Didot", "Baskervald ADF Std",
        "Romande ADF Std", "Fanwood", "Goudy Bookletter 1911", "Century Catalogue",
    ),
    "sans": (
        "CMU Sans Serif", "CMU Bright", "CMU Sans Serif Demi Condensed", "Nimbus Sans", "Nimbus Sans Narrow",
        "URW Gothic", "Carlito", "DejaVu Sans", "FreeSans", "Liberation Sans", "Noto Sans", "Open Sans", "Roboto",
        "Roboto Condensed", "PT Sans", "Gillius ADF", "Go", "Play", "Linux Biolinum O",
    ),
    "mono": (
        "CMU Typewriter Text", "CMU Typewriter Text Variable Width", "GNUTypewriter", "Nimbus Mono PS", "FreeMono",
        "Liberation Mono", "DejaVu Sans Mono", "Inconsolata", "PT Mono", "Go Mono",
    ),
    "old": (
        "Essays1743", "Junicode Two Beta", "Gamaliel", "Hamlet", "Jessen", "Fust & Schoeffer", "Ptolemy", "Spira",
        "Rusch", "Rot", "Sweynheim & Pannartz", "Soufflet Vert", "Fanwood", "Old Standard TT",
    ),
    "hand": (
        "Dancing Script", "Breip", "Kristi", "Rufscript", "DkgHandwriting", "Joscelyn", "TypoScript",
        "Kaushan Script", "Ecolier_court", "Because We Learn", "Because We Create", "Because We Mentor", "Z003",
        "Romande ADF Script Std", "Isabella", "Comic Neue", "CMU Classical Serif",
    ),
}  # fmt: skip

# As the packages of Debian state them in their `copyright`. Each allows pages to be printed and pictured in its fonts;
# no font is shipped. "with exception": the licence does not cover documents that are set in the fonts.
LICENCES = {
    "OFL-1.0": ("Breip", "Century Catalogue", "Inconsolata", "Old Standard TT", "TypoScript"),
    "OFL-1.1": (
        "Because We Create", "Because We Learn", "Because We Mentor", "CMU Bright", "CMU Classical Serif",
        "CMU Concrete", "CMU Sans Serif", "CMU Sans Serif Demi Condensed", "CMU Serif", "CMU Serif Extra",
        "CMU Typewriter Text", "CMU Typewriter Text Variable Width", "Caladea", "Carlito", "Charis SIL", "Comic Neue",
        "Courier Prime", "Dancing Script", "DkgHandwriting", "EB Garamond", "Ecolier_court", "Essays1743",
        "Fust & Schoeffer", "GFS Didot", "GNUTypewriter", "Gamaliel", "Gentium Plus", "Hamlet", "Jessen", "Joscelyn",
        "Junicode Two Beta", "Kaushan Script", "Kristi", "Lato", "Liberation Mono", "Liberation Sans",
        "Liberation Serif", "Linux Biolinum O", "Linux Libertine O", "Noto Sans", "Noto Serif", "Play", "Ptolemy",
        "Rot", "Rusch", "Soufflet Vert", "Spira", "Sweynheim & Pannartz",
    ),
    "Apache-2.0": ("Open Sans", "Roboto", "Roboto Condensed"),
    "MIT": ("Fanwood",),
    "BSD-3-Clause": ("Go", "Go Mono"),
    "Bitstream-Vera": ("DejaVu Sans", "DejaVu Sans Mono", "DejaVu Serif"),
    "ParaType-Free-Font": ("PT Mono", "PT Sans", "PT Serif"),
    "public domain": ("Goudy Bookletter 1911",),
    "LGPL-2.0-or-later": ("Isabella",),
    "GPL-2.0-or-later with exception": (
        "Baskervald ADF Std", "Gillius ADF", "Romande ADF Script Std", "Romande ADF Std",
    ),
    "GPL-3.0-or-later with exception": ("FreeMono", "FreeSans", "FreeSerif", "Rufscript"),
    "AGPL-3.0 with exception": (
        "C059", "Nimbus Mono PS", "Nimbus Roman", "Nimbus Sans", "Nimbus Sans Narrow", "P052", "URW Bookman",
        "URW Gothic", "Z003",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Face:
    """One font file of a family."""

    family: str
    path: Path

    def at(self, pixels: float) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(str(self.path), pixels)


def installed_faces() -> dict[str, list[Face]]:
    """Return family names with their faces, of all TrueType and OpenType files that are installed, in a fixed order."""
    families: dict[str, list[Face]] = {}
    files = sorted(path for folder in font_folders() for path in folder.rglob("*.[to]tf"))
    for path in files:
        try:
            family = ImageFont.truetype(str(path), 16).getname()[0]
        except OSError:
            continue
        if family:
            families.setdefault(family, []).append(Face(family, path))
    return families


def faces_by_style() -> dict[str, list[list[Face]]]:
    """Return styles with their installed families. Raises MissingError if a style has none."""
    found = installed_faces()
    styles = {style: [found[name] for name in names if name in found] for style, names in FAMILIES.items()}
    empty = [style for style, families in styles.items() if not families]
    if empty:
        raise MissingError(f"no fonts of style {', '.join(empty)} below {', '.join(map(str, font_folders()))}")
    return styles


def licence(family: str) -> str:
    """Return the licence of a family in FAMILIES or HELD_OUT."""
    return next(name for name, families in LICENCES.items() if family in families)

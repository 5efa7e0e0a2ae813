"""Where fonts are installed."""

import os
from pathlib import Path


def font_folders() -> tuple[Path, ...]:
    """Returns the system's folders of fonts, then the user's, which XDG_DATA_HOME may move."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path(data) / "fonts"


def find_font(name: str) -> Path | None:
    """Returns the first file of that name below `font_folders()`, or None."""
    return next((path for folder in font_folders() for path in sorted(folder.rglob(name))), None)

"""Where fonts and photographs are installed."""

import os
from pathlib import Path


def data_folders() -> tuple[Path, ...]:
    """Returns the system's folders of shared data, then the user's, which XDG_DATA_HOME may move."""
    user = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path("/usr/share"), Path("/usr/local/share"), Path(user)


def font_folders() -> tuple[Path, ...]:
    """Returns the folders of fonts in `data_folders()`."""
    return tuple(folder / "fonts" for folder in data_folders())


def find_data(name: Path) -> Path | None:
    """Returns the first file of that relative path in `data_folders()`, or None."""
    return next((folder / name for folder in data_folders() if (folder / name).is_file()), None)


def find_font(name: str) -> Path | None:
    """Returns the first file of that name below `font_folders()`, or None."""
    return next((path for folder in font_folders() for path in sorted(folder.rglob(name))), None)

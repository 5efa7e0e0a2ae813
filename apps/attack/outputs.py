"""Where the files of a picture go: the attacked one as planned, its amplified difference beside it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fastdiff.apps import inputs
from fastdiff.apps.inputs import Item


def difference_of(output: Path) -> Path:
    """`cat.png` -> `cat-difference.png`."""
    return output.with_name(f"{output.stem}-difference.png")


def apart(items: Sequence[Item], reserved: Path) -> tuple[Item, ...]:
    """The items with outputs that are numbered (`cat-2.png`) where they, or their differences, would be a file of an
    earlier item or the reserved one."""
    outputs = inputs.untaken((item.output for item in items), lambda path: (path, difference_of(path)), (reserved,))
    return tuple(replace(item, output=output) for item, output in zip(items, outputs, strict=True))

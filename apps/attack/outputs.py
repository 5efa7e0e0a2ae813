"""Where the files of a picture go: the attacked one as planned, its amplified difference beside it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from fastdiff.apps.inputs import Item


def difference_of(output: Path) -> Path:
    """`cat.png` -> `cat-difference.png`."""
    return output.with_name(f"{output.stem}-difference.png")


def apart(items: Sequence[Item], reserved: Path) -> tuple[Item, ...]:
    """The items with outputs that are numbered (`cat-2.png`) where they, or their differences, would be a file of an
    earlier item or the reserved one."""
    taken = {_folded(reserved)}
    named = []
    for item in items:
        wish = item.output
        numbered = (wish.with_name(f"{wish.stem}-{number}{wish.suffix}") for number in count(2))
        output = wish
        while not taken.isdisjoint(files := {_folded(output), _folded(difference_of(output))}):
            output = next(numbered)
        taken |= files
        named.append(replace(item, output=output))
    return tuple(named)


def _folded(path: Path) -> str:
    """One spelling for paths that some file systems hold to be the same."""
    return str(path.absolute()).casefold()

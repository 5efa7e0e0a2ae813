"""Formats counts and output places for messages."""

import os
from collections.abc import Collection


def counted(count: int, noun: str) -> str:
    """Format a count with its noun, such as `1 page` and `2 pages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def places(outputs: Collection[str]) -> str:
    """Say where the outputs are, such as ` In scans-clean.`; an empty text if there are none."""
    if not outputs:
        return ""
    found = list(outputs) if len(outputs) == 1 else sorted({os.path.dirname(each) or "this folder" for each in outputs})
    more = f" and {counted(len(found) - 1, 'more folder')}" if len(found) > 1 else ""
    return f" In {found[0]}{more}."

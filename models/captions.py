"""Captions of the scenes that the bundled model was trained on."""

from collections.abc import Sequence


def caption(concept: str, kind: str, colours: Sequence[str]) -> str:
    """Return a caption such as `fox on a teal and white striped background`."""
    return f"{concept} on {background(kind, colours)}"


def background(kind: str, colours: Sequence[str]) -> str:
    """Describe a background, such as `a teal and white striped background`; the kind `plain` is omitted."""
    words = " and ".join(colours) + ("" if kind == "plain" else f" {kind}")
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} background"

"""How the scenes that the bundled backbone knows are put into words."""

from collections.abc import Sequence


def caption(concept: str, kind: str, colours: Sequence[str]) -> str:
    """Such as `fox on a teal and white striped background`."""
    return f"{concept} on {background(kind, colours)}"


def background(kind: str, colours: Sequence[str]) -> str:
    """Such as `a teal and white striped background`; a plain one goes without its kind."""
    words = " and ".join(colours) + ("" if kind == "plain" else f" {kind}")
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} background"

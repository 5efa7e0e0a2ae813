"""How numbers are told."""


def counted(count: int, noun: str) -> str:
    """Such as `1 page` and `2 pages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"

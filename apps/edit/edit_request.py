"""The request for one edit."""

from typing import NamedTuple


class EditRequest(NamedTuple):
    """The target prompt, and the source prompt (None if not given)."""

    prompt: str
    source: str | None = None

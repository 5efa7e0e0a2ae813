"""What a person wishes of one picture."""

from typing import NamedTuple


class EditRequest(NamedTuple):
    """The picture shall show `prompt`; it shows `source`, None where nobody said."""

    prompt: str
    source: str | None = None

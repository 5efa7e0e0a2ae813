"""Decides whether an edited cut-out stays transparent."""

import re

import numpy as np
from torch import Tensor

from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.images.picture import Picture, to_uint8, without_alpha

OPAQUE = 128  # alpha from which on a pixel is part of the cut-out
PAINTED = 16  # levels of change from which on a transparent pixel counts as painted
SOME = 0.05  # share of the transparent pixels


def output_like(original: Picture, edited: Tensor, request: EditRequest) -> tuple[Picture, str | None]:
    """Return the picture whose alpha the output takes, and a note on transparent places; `edited` is (3, H, W).

    A cut-out becomes opaque if a background is wished, and else stays transparent wherever it was.
    """
    if original.layer is None:
        return original, None
    hidden = original.layer[..., 3] < OPAQUE
    if not hidden.any():
        return original, None
    change = np.abs(to_uint8(edited).astype(int) - to_uint8(original.colour[0]).astype(int)).max(axis=2)
    share = float((change[hidden] >= PAINTED).mean())
    if _wishes_background(request):
        return without_alpha(original), "its transparent places are filled: the edit has a background"
    if share >= SOME:
        stay = "name a background in the prompt to fill them"
        return original, f"the edit painted {share:.0%} of its transparent places, which stay transparent: {stay}"
    return original, None


def _wishes_background(request: EditRequest) -> bool:
    """True if the prompt names a background, and the source prompt does not name the same."""
    prompt = request.prompt.casefold()
    if not re.search(r"\bbackground\b", prompt) or "transparent" in prompt:
        return False
    return request.source is None or prompt.rpartition(" on ")[2] not in request.source.casefold()

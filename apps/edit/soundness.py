"""Checks of an edit's numbers: no infinities or NaNs, and no picture of clipped colours alone."""

import torch
from torch import Tensor

from fastdiff.apps.precision import check_finite
from fastdiff.inversion.edit_friendly import recorded_noise
from fastdiff.inversion.inversion import Inversion
from fastdiff.models.diffusion_model import Conditioning
from fastdiff.solvers.errors import UsageError

# Shares of the pixels. A white background under a drawing leaves more ink than 0.5 %, and flat art has fewer colours
# with every channel at an end of its range; a picture that guidance has driven apart has most of the eight.
ONE_COLOUR = 0.995  # of one clipped colour, from which on a picture is nothing else
CLIPPED, MANY, SOME = 0.95, 5, 0.01  # of all clipped colours, where MANY of them have SOME each
CORNERS = ("black", "blue", "green", "cyan", "red", "magenta", "yellow", "white")  # by 4 red + 2 green + blue


class Sound:
    """Checks that every intermediate result of an edit is finite, in the precision `dtype` of its network.

    All methods raise NotFiniteError, which names the result that overflows.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def encoded(self, latents: Tensor) -> Tensor:
        return self._checked(latents, "the encoding of the picture")

    def prompts(self, *prompts: Conditioning) -> None:
        for each in prompts:
            self._checked(each.embeddings.masked_fill(~each.mask[..., None], 0), "the encoding of the prompt")

    def inverted(self, inversion: Inversion) -> Inversion:
        """The states of the inversion, and the noise maps if it recorded any."""
        self._checked(inversion.trajectory, "the inversion")
        if (maps := recorded_noise(inversion.solver)) is not None:
            self._checked(maps.z, "the inversion")
        return inversion

    def sampled(self, latents: Tensor) -> Tensor:
        return self._checked(latents, "the sampling of the edit")

    def decoded(self, picture: Tensor) -> Tensor:
        return self._checked(picture, "the decoding of the picture")

    def _checked(self, values: Tensor, made: str) -> Tensor:
        check_finite(values, made, self._dtype)
        return values


def check_colours(edited: Tensor, original: Tensor) -> None:
    """Raise UsageError if the colours (3, H, W) in [-1, 1] are all clipped and the original's are not."""
    fault = _clipped(edited)
    if fault is not None and _clipped(original) is None:
        raise UsageError(
            f"the edit is {fault}, which is no picture: lower --guidance, or compute with --dtype float32 if you chose "
            "another"
        )


def _clipped(colours: Tensor) -> str | None:
    """Return a description of a picture of clipped colours alone; None for any other picture."""
    values = ((colours + 1) * 127.5).round()
    ends = ((values <= 0) | (values >= 255)).all(0)
    corner = ((values >= 255).long() * values.new_tensor([4, 2, 1]).long()[:, None, None]).sum(0)
    shares = torch.bincount(corner[ends], minlength=len(CORNERS)) / ends.numel()
    if shares.max() >= ONE_COLOUR:
        return f"{CORNERS[int(shares.argmax())]} all over"
    if shares.sum() >= CLIPPED and (shares >= SOME).sum() >= MANY:
        return f"clipped in {shares.sum():.0%} of its pixels"
    return None

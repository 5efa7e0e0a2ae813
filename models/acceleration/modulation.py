"""The modulated input of a transformer block, which its first attention layer receives."""

from typing import Any

from torch import Tensor

from fastdiff.models.acceleration.block_calls import BlockCall
from fastdiff.solvers.errors import UsageError


def modulated_input(call: BlockCall) -> Tensor:
    """Return the normalized hidden states (R, N, D) with the scale and shift of the timestep.

    Raises UsageError for blocks that the timestep does not modulate.
    """
    block: Any = call.module
    given = call.arguments
    hidden = call.hidden
    if hasattr(block, "scale_shift_table"):  # of PixArt and Sana: a shared embedding and a table per block
        table = block.scale_shift_table[None] + given["timestep"].reshape(len(hidden), 6, -1)
        shift, scale = table[:, :1], table[:, 1:2]
        normalized: Tensor = block.norm1(hidden)
        moved: Tensor = normalized * (1 + scale) + shift
        return moved
    if "temb" in given:  # of SD3 and FLUX, whose norms also modulate
        norm = block.norm1 if hasattr(block, "norm1") else block.norm
        modulated: Tensor = norm(hidden, emb=given["temb"])[0]
        return modulated
    raise UsageError(f"TeaCache in a network of {type(block).__name__}: its timestep does not modulate the blocks")

"""The denoiser of a model under prompts and a guidance scale."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fastdiff.models.diffusion_model import Conditioning, DiffusionModel
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.guidance import ClassifierFree, GuidanceRule, Guided, Masked, Unguided


def guided_denoiser(
    model: DiffusionModel,
    prompts: Conditioning,
    scale: float | Sequence[float],
    size: tuple[int, int],
    *,
    negative_prompt: Conditioning | None = None,
    guidance_mask: Callable[[Tensor], Tensor] | None = None,
) -> Guided:
    """A denoiser of latents (B, C, h, w) of pictures of `size` pixels (height, width), a row for every prompt.

    `scale` is the guidance scale, for all rows or one a row; at 1, and for models without prompts, the network is
    called on B rows. `negative_prompt`, of one row, takes the place of the empty prompt; `guidance_mask` is that of
    `Masked`. Raises UsageError for scales that are not B.
    """
    scales = (scale,) * len(prompts) if isinstance(scale, int | float) else tuple(scale)
    if len(scales) != len(prompts):
        raise UsageError(f"{len(scales)} guidance scales for {len(prompts)} prompts: give one, or one a prompt")
    if model.guidance_kind == "embedded":
        prompts = replace(prompts, guidance=torch.tensor(scales, device=prompts.embeddings.device))
    if model.guidance_kind != "classifier-free" or all(each == 1 for each in scales):
        return Guided(model.bind(prompts, size), Unguided())
    rule: GuidanceRule = ClassifierFree(scales if len(set(scales)) > 1 else scales[0])
    if guidance_mask is not None:
        rule = Masked(rule, guidance_mask)
    return Guided(model.bind(prompts, size, negative_prompt or model.empty_prompt), rule)

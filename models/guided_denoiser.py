"""Builds the guided denoiser of a model from prompts and a guidance scale."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from fastdiff.models.diffusion_model import Conditioning, DiffusionModel
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.guidance import ClassifierFree, GuidanceRule, Guided, Interval, Mask, Masked, Rescaled, Unguided


def guided_denoiser(
    model: DiffusionModel,
    prompts: Conditioning,
    scale: float | Sequence[float],
    size: tuple[int, int],
    *,
    negative_prompt: Conditioning | None = None,
    guidance_mask: Mask | None = None,
    rescale: float = 0.0,
    interval: tuple[float, float] | None = None,
) -> Guided:
    """Return a denoiser of latents (B, C, h, w) of pictures of `size` pixels (height, width), one row per prompt.

    `scale` is the guidance scale w, one for all rows or one per row. If every scale is 1, or the model has no
    classifier-free guidance, each step calls the network on B rows, otherwise on 2 B. `negative_prompt`, of one row,
    replaces the empty prompt. `guidance_mask`, `rescale` and `interval` are the mask of `Masked`, the share of
    `Rescaled` and the times of `Interval`, rules of `fastdiff.solvers.guidance`.

    Raises UsageError unless there are one or B scales.
    """
    scales = (scale,) * len(prompts) if isinstance(scale, int | float) else tuple(scale)
    if len(scales) != len(prompts):
        raise UsageError(f"{len(scales)} guidance scales for {len(prompts)} prompts: give one, or one a prompt")
    if model.guidance_kind == "embedded":
        prompts = replace(prompts, guidance=torch.tensor(scales, device=prompts.embeddings.device))
    if model.guidance_kind != "classifier-free" or all(each == 1 for each in scales):
        return Guided(model.bind(prompts, size), Unguided())
    rule: GuidanceRule = ClassifierFree(scales if len(set(scales)) > 1 else scales[0])
    if rescale:
        rule = Rescaled(rule, rescale)
    if guidance_mask is not None:
        rule = Masked(rule, guidance_mask)
    if interval is not None:
        rule = Interval(rule, *interval)
    return Guided(model.bind(prompts, size, negative_prompt or model.empty_prompt), rule)

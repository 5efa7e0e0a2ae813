"""Model folders of UNet families that are small enough for a test: the real classes, with random weights."""

import json
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from fastdiff.models.patch_codec import fit

LENGTH = 16  # tokens of a prompt
WIDTH = 16  # of the text encoder
TRAINED: dict[str, Any] = {  # the settings of the scheduler in the folders of Stable Diffusion
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def tokenizer(**special: str) -> CLIPTokenizer:
    """Letters, each alone and as the end of a word. `special` names special tokens, such as that of padding."""
    pieces = [*ascii_lowercase, *(f"{letter}</w>" for letter in ascii_lowercase), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=LENGTH, **special)


def write_prior(folder: Path, seed: int = 0) -> Path:
    """A folder as `fastdiff train prior` makes it, with a UNet of one attention block."""
    torch.manual_seed(seed)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=48,
        out_channels=48,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )
    smooth = F.interpolate(torch.rand(16, 3, 16, 16), (64, 64), mode="bicubic").clamp(0, 1) * 2 - 1
    scheduler = DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    kinds = {"vqvae": ["fastdiff.models.patch_codec", "PatchCodec"]}
    return _save(folder, "LDMPipeline", {"unet": unet, "vqvae": fit([smooth]), "scheduler": scheduler}, kinds)


def write_stable_diffusion(
    folder: Path,
    xl: bool = False,
    *,
    scheduler: SchedulerMixin | None = None,
    zeros_for_empty_prompt: bool = True,
    **changes: object,
) -> Path:
    """A folder that the real pipeline saved: Stable Diffusion 1, or XL with two text encoders, for 64 pixels a side.

    `changes` are for the config of the UNet.
    """
    torch.manual_seed(0)
    words = tokenizer()
    settings = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=WIDTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    embedding = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
    }
    network: dict[str, Any] = {
        "sample_size": 32,
        "block_out_channels": (16, 16, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH * (2 if xl else 1),
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    unet = UNet2DConditionModel(**network | (embedding if xl else {}) | changes)
    parts: dict[str, Any] = {
        "unet": unet,
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            norm_num_groups=4,
        ),
        "scheduler": scheduler or PNDMScheduler(**TRAINED, skip_prk_steps=True),
        "text_encoder": CLIPTextModel(settings),
        "tokenizer": words,
    }
    if xl:
        others = tokenizer(pad_token="z")  # the two of XL pad differently
        parts |= {"text_encoder_2": CLIPTextModelWithProjection(settings), "tokenizer_2": others}
    _fill(parts)
    absent: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    pipeline: DiffusionPipeline
    if xl:
        pipeline = StableDiffusionXLPipeline(**parts, force_zeros_for_empty_prompt=zeros_for_empty_prompt)
    else:
        pipeline = StableDiffusionPipeline(**parts, **absent)
    pipeline.save_pretrained(folder)
    return folder


def _save(folder: Path, pipeline: str, parts: dict[str, Any], kinds: dict[str, list[str]]) -> Path:
    _fill(parts)
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    listed = {name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **listed, **kinds}))
    return folder


def _fill(parts: dict[str, Any]) -> None:
    """Draw the weights that are zero, which hide what a layer does."""
    for part in parts.values():
        for weight in part.parameters() if isinstance(part, nn.Module) else ():
            if not weight.any():
                nn.init.normal_(weight, std=0.02)

"""Model folders of the PixArt family that are small enough for a test: the real classes, with random weights."""

from pathlib import Path
from string import ascii_lowercase

import diffusers
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, DPMSolverMultistepScheduler, PixArtTransformer2DModel
from torch import nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer

WORDS = ("a", "fox", "cat", "dog", "and", "on", "grass", "stripe")
PIECES = ("s", "d", "▁", ",", ".", "-", "'", *ascii_lowercase)  # what other words are put together from


def tokenizer() -> T5Tokenizer:
    """Whole words for WORDS, pieces for all others."""
    whole = [(f"▁{word}", -1.0) for word in WORDS]
    pieces = [(piece, -8.0) for piece in dict.fromkeys(PIECES)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *whole, *pieces], extra_ids=0)


def transformer(**changes: object) -> PixArtTransformer2DModel:
    """Two blocks of width 24 for 4 latent channels, learned variances; every gate is open."""
    settings = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "num_layers": 2,
        "in_channels": 4,
        "out_channels": 8,
        "cross_attention_dim": 24,
        "caption_channels": 16,
        "sample_size": 32,
    }
    torch.manual_seed(0)
    net = PixArtTransformer2DModel(**settings | changes)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.15)
    return net.eval()


def write(folder: Path, pipeline: str = "PixArtAlphaPipeline", **changes: object) -> Path:
    """A folder that the real pipeline saved.

    `changes` are for the config of the transformer, sample_size 128 for the style of 1024 pixels.
    """
    torch.manual_seed(1)
    words = tokenizer()
    parts = {
        "scheduler": DPMSolverMultistepScheduler(),
        "text_encoder": T5EncoderModel(
            T5Config(vocab_size=len(words), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        ),
        "tokenizer": words,
        "transformer": transformer(**changes),
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 4, 4),
            norm_num_groups=2,
        ),
    }
    made: DiffusionPipeline = getattr(diffusers, pipeline)(**parts)
    made.save_pretrained(folder)
    return folder

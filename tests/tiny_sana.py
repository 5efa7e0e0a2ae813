"""Sana small enough for a test: the real classes, with random weights."""

from pathlib import Path
from string import printable
from typing import Any

import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from tiny_sd3 import randomized
from torch import nn
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

WIDTH = 16  # of the text encoder
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
WORDS = ("fox", "cat", "dog")  # that have tokens of their own


def tokenizer() -> GemmaTokenizer:
    """Single characters, WORDS, and bytes for all others."""
    starts = [word[:length] for word in WORDS for length in range(2, len(word) + 1)]
    pieces = [*SPECIAL, "▁", *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys([*printable.strip(), *starts])]
    merges: Any = [(word[:length], word[length]) for word in WORDS for length in range(1, len(word))]
    return GemmaTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges)


def write(folder: Path, dtype: torch.dtype = torch.float32, scheduler: Any = None, **changes: Any) -> Path:
    """A folder as the real pipeline saves it, for pictures of 128 pixels; `changes` are for the transformer."""
    torch.manual_seed(2)
    words = tokenizer()
    settings = {
        "in_channels": 8,
        "out_channels": 8,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 2,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": WIDTH,
        "sample_size": 4,
    }
    text = Gemma2Config(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
    )
    net = randomized(SanaTransformer2DModel(**settings | changes))
    nn.init.ones_(net.caption_norm.weight)  # or prompts change little
    pipeline = SanaPipeline(
        tokenizer=words,
        text_encoder=Gemma2Model(text).eval(),
        vae=autoencoder(),
        transformer=net,
        scheduler=scheduler or flow_dpm(),
    )
    pipeline.to(dtype).save_pretrained(folder)
    return folder


def flow_dpm() -> DPMSolverMultistepScheduler:
    """The scheduler of the published folders."""
    return DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction")


def autoencoder() -> AutoencoderDC:
    """8 channels, a factor of 32 to pixels."""
    stages = {
        "block_types": ("ResBlock",) * 5 + ("EfficientViTBlock",),
        "block_out_channels": (8,) * 6,
        "layers_per_block": (1,) * 6,
        "qkv_multiscales": ((),) * 5 + ((5,),),
    }
    settings = {f"{part}_{key}": value for part in ("encoder", "decoder") for key, value in stages.items()}
    net = AutoencoderDC(latent_channels=8, attention_head_dim=4, scaling_factor=0.41407, **settings)
    return net.eval()

"""The names of weights in checkpoints of Stable Diffusion 1, from those of diffusers, for the tiny networks of tests.

Typed by hand after the layout of CompVis/stable-diffusion: diffusers has the way back in a script alone.
"""

import re

from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def checkpoint(unet: dict[str, Tensor], vae: dict[str, Tensor], text_encoder: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of three parts of a folder under the names of one file; a resolution has one layer a block."""
    levels = 1 + max(int(match[1]) for key in vae if (match := re.match(r"decoder\.up_blocks\.(\d+)", key)))
    file = {f"model.diffusion_model.{_of_unet(key)}": value for key, value in unet.items()}
    for key, value in vae.items():
        name = _of_autoencoder(key, levels)
        is_linear = ".mid.attn_1." in name and name.endswith("weight") and value.ndim == 2
        file[f"first_stage_model.{name}"] = value[..., None, None] if is_linear else value
    return file | {f"cond_stage_model.transformer.text_model.{key}": value for key, value in text_encoder.items()}


def _of_unet(key: str) -> str:
    path, _, kind = key.rpartition(".")
    if path in ENDS:
        return f"{ENDS[path]}.{kind}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", path):
        part, number, rest = match.groups()
        inner = RESNET[rest] if part == "resnets" else rest
        return f"middle_block.{2 * int(number) if part == 'resnets' else 1}.{inner}.{kind}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", path)
    assert match, key
    way, level, part, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if part == "downsamplers":
        return f"input_blocks.{2 * (level + 1)}.0.op.{kind}"
    if part == "upsamplers":  # after the attention where there is any, as in the first block
        return f"output_blocks.{2 * level + 1}.{2 if level == 0 else 1}.conv.{kind}"
    block = f"input_blocks.{2 * level + layer + 1}" if way == "down" else f"output_blocks.{2 * level + layer}"
    return f"{block}.0.{RESNET[rest]}.{kind}" if part == "resnets" else f"{block}.1.{rest}.{kind}"


def _of_autoencoder(key: str, levels: int) -> str:
    name = key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda match: f"up.{levels - 1 - int(match[1])}.block.{match[2]}", name
    )
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"up.{levels - 1 - int(match[1])}.upsample", name)
    if match := re.fullmatch(r"(.*)mid_block\.attentions\.0\.(.*)\.(weight|bias)", name):
        return f"{match[1]}mid.attn_1.{ATTENTION[match[2]]}.{match[3]}"
    return name

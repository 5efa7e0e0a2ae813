"""The published configs of the large models, built without memory: their numbers of parameters, and one call each.

The configs were typed from the published folders; the parameters are compared with what the authors say.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import tiny_unet
import torch
from diffusers import (
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from fastdiff.apps.edit.app import forecast
from fastdiff.apps.edit.options import Options
from fastdiff.apps.model_memory import ROOM, Machine, fit
from fastdiff.cli.main import main
from fastdiff.models.catalogue import describe, network_work
from fastdiff.models.diffusers_folder import Weights
from fastdiff.models.scheduler_config import scheduler_from_config
from fastdiff.solvers.errors import UsageError

SD3 = {
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
    "pos_embed_max_size": 192,
    "joint_attention_dim": 4096,
}
XL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
MODELS: dict[str, tuple[Any, dict[str, Any], float]] = {  # class, config, billions of parameters
    "PixArt-XL 512": (PixArtTransformer2DModel, {"sample_size": 64}, 0.6),
    "SDXL": (UNet2DConditionModel, XL, 2.6),
    "Sana 1.6B": (SanaTransformer2DModel, {"caption_channels": 2304}, 1.6),
    "SD3 medium": (
        SD3Transformer2DModel,
        SD3
        | {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pooled_projection_dim": 2048},
        2.0,
    ),
    "SD3.5 large": (
        SD3Transformer2DModel,
        SD3
        | {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "pooled_projection_dim": 2048}
        | {"qk_norm": "rms_norm"},
        8.1,
    ),
    "FLUX.1-dev": (FluxTransformer2DModel, {"guidance_embeds": True}, 11.9),
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_that_the_authors_state(name: str) -> None:
    kind, config, billions = MODELS[name]
    with torch.device("meta"):
        network = kind.from_config(config)
    numbers = sum(weight.numel() for weight in network.parameters())
    assert numbers / 1e9 == pytest.approx(billions, rel=0.03)


@pytest.mark.parametrize(
    "config",
    [{"sample_size": 64, "cross_attention_dim": 768}, pytest.param(XL, marks=pytest.mark.slow)],
    ids=["SD 1", "SDXL"],
)
def test_the_work_of_a_unet_is_what_torch_counts(config: dict[str, Any]) -> None:
    """Attention is left out of the estimate, and prompts are taken for as long as pictures."""
    with torch.device("meta"):
        network: Any = UNet2DConditionModel.from_config(config)
        width = network.config.cross_attention_dim
        side = network.config.sample_size
        more = {"text_embeds": torch.zeros(1, 1280), "time_ids": torch.zeros(1, 6)}
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 4, side, side), torch.zeros(1), torch.zeros(1, 77, width), added_cond_kwargs=more)
    blocks: Counter[str] = Counter()
    for name, weight in network.state_dict().items():
        blocks[".".join(name.split(".")[:2])] += weight.numel()
    listed = {key: list(value) if isinstance(value, tuple) else value for key, value in network.config.items()}
    work = network_work(listed, {"unet": Weights((), blocks.total(), 0, "float32", blocks)})
    assert work == pytest.approx(counter.get_total_flops() / 2, rel=0.15)


@pytest.mark.parametrize("write", [tiny_unet.write_stable_diffusion, tiny_flux.write])
def test_a_dry_run_estimates_the_time(write: Any, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "in.png")
    model = str(write(tmp_path / "model"))
    plan = forecast(Options((str(tmp_path / "in.png"),), prompt="a cat", source="a fox", model=model, steps=4))
    assert plan.seconds is not None and plan.seconds > 0


def test_the_memory_that_weights_need(tmp_path: Path) -> None:
    """In float32 on a processor, in bfloat16 on a GPU; the autoencoder in float32."""
    description = describe(tiny_unet.write_stable_diffusion(tmp_path / "model"))
    numbers = {part: weights.numbers for part, weights in description.networks.items()}
    whole = 4 * sum(numbers.values())
    half = 2 * (numbers["unet"] + numbers["text_encoder"]) + 4 * numbers["vae"]
    offloaded = 2 * numbers["unet"] + max(2 * numbers["text_encoder"], 4 * numbers["vae"])
    assert offloaded < half < whole
    for device, number, memory, needed, fits, option in (
        ("cpu", 4, whole, whole, True, None),
        ("cpu", 4, whole - 1, half, True, "--dtype bfloat16"),
        ("cpu", 4, half - 1, whole, False, None),
        ("cuda", 2, half, half, True, None),
        ("cuda", 2, half - 1, offloaded, True, "--offload"),
        ("cuda", 2, offloaded - 1, half, False, None),
    ):
        found = fit(description, Machine(device, number, int(memory / ROOM) + (memory >= needed)))
        assert (found.needed, found.fits, found.option) == (needed, fits, option)


def test_a_shift_by_size_is_shown_and_where_it_is_not_read_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", str(tiny_flux.write(tmp_path / "model"))]) == 0
    assert "flow matching, shift by the size of the picture" in capsys.readouterr().out
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}
    with pytest.raises(UsageError, match="use_dynamic_shifting is not read: a constant shift is, and for Stable"):
        scheduler_from_config(config)

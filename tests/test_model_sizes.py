"""The published configs of the large models, built without memory: their numbers of parameters, and what they need.

The configs were typed from the published folders; the parameters are compared with what the authors say.
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import tiny_unet
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.memory import AttentionWithoutMaps, LiveTensors, Model, Part, count, numbers
from benchmarks.published_models import MODELS, XL
from fastdiff.apps.edit.app import forecast
from fastdiff.apps.edit.options import Options
from fastdiff.apps.model_memory import ROOM, Machine, fit
from fastdiff.cli.main import main
from fastdiff.models.catalogue import describe, network_work
from fastdiff.models.diffusers_folder import Weights
from fastdiff.models.scheduler_config import scheduler_from_config
from fastdiff.solvers.errors import UsageError

TEXT = {"SDXL": 0.82, "Sana 1.6B": 2.61, "FLUX.1-dev": 4.9}  # billions of parameters of all text encoders


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_that_the_authors_state(name: str) -> None:
    with torch.device("meta"):
        network = MODELS[name].network()
    assert numbers(network) / 1e9 == pytest.approx(MODELS[name].billions, rel=0.05)


@pytest.mark.parametrize("name", TEXT)
def test_text_encoders_are_those_of_the_folders(name: str) -> None:
    with torch.device("meta"):
        encoders = [make() for make in MODELS[name].encoders]
    assert sum(map(numbers, encoders)) / 1e9 == pytest.approx(TEXT[name], rel=0.03)


def test_a_call_of_stable_diffusion_takes_the_work_that_is_known() -> None:
    """About 0.8 TFLOP a call of one row, twice the 0.4 T multiplications and additions of published counts."""
    small = replace(MODELS["Stable Diffusion 1.5"], latents=(4, 64, 64))
    found = count(small)
    assert found.work / 1e12 == pytest.approx(0.8, rel=0.02)
    assert found.autoencoder.numbers / 1e6 == pytest.approx(83.7, rel=0.01)


def test_live_tensors_are_counted_while_they_live() -> None:
    x = torch.empty(1000, device="meta")
    with LiveTensors() as live:
        y = x.view(-1) + 1  # 4000 bytes; those of x were there before
        z = y.view(10, 100) * 2  # the view shares its storage
        del y
        w = z + 1
    assert live.most == 8000 and live.now == 8000 and w.shape == z.shape


def test_attention_keeps_no_maps() -> None:
    q, v = torch.empty(1, 2, 500, 8, device="meta"), torch.empty(1, 2, 500, 4, device="meta")
    with AttentionWithoutMaps(), LiveTensors() as live:
        out = scaled_dot_product_attention(q, q, v)
    assert out.shape == (1, 2, 500, 4) and live.most == out.numel() * 4


def test_parts_are_together_or_alone() -> None:
    model = Model(Part(10**9, 2e9), Part(10**8, 3e9), (Part(4 * 10**9, 0.0), Part(10**8, 0.0)), 1.0)
    assert model.together(2) == pytest.approx(2 * 5.1 + 0.4 + 3 + 1)  # decoding has more activations than a call
    assert model.alone(2) == pytest.approx(8 + 1)  # of the largest text encoder
    assert model.alone(4) == pytest.approx(16 + 1)


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
    offloaded = max(2 * numbers["unet"], 2 * numbers["text_encoder"], 4 * numbers["vae"])
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


def test_a_safety_checker_needs_no_memory_and_may_be_pickled(tmp_path: Path) -> None:
    folder = tiny_unet.write_stable_diffusion(tmp_path / "model")
    plain, index = describe(folder), json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "safety_checker").mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        (folder / "safety_checker" / name).write_text("{}")
    assert describe(folder).networks == plain.networks


def test_a_shift_by_size_is_shown_and_where_it_is_not_read_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", str(tiny_flux.write(tmp_path / "model"))]) == 0
    assert "flow matching, shift by the size of the picture" in capsys.readouterr().out
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}
    with pytest.raises(UsageError, match="use_dynamic_shifting is not read: a constant shift is, and for Stable"):
        scheduler_from_config(config)

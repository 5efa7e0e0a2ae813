"""LoRA in PEFT's layout on PixArt: sampled latents are those of the real pipeline with the same files."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_pixart
import torch
from diffusers import LCMScheduler, PixArtAlphaPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.lora import LoraFile
from fastdiff.models.registry import load_editable
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import grid
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.lcm import LCM, consistency_points

peft: Any = pytest.importorskip("peft", reason="peft is not installed")

PROMPTS = ["a fox, on grass", "two cats and a striped dog"]
STEPS, SIZE = 4, (64, 96)


class Drawn:
    """Noise from one generator, as pipelines draw it."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, like: Tensor, step: int) -> Tensor:
        return torch.randn(like.shape, generator=self.generator)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.inference_mode(False):
        return tiny_pixart.write(tmp_path_factory.mktemp("pixart") / "model")


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Path:
    with torch.inference_mode(False):
        pipeline: Any = PixArtAlphaPipeline.from_pretrained(folder)
        config = peft.LoraConfig(r=3, lora_alpha=2, target_modules=["to_q", "to_out.0", "ff.net.2"])
        net = peft.get_peft_model(pipeline.transformer, config)
        for name, weight in net.named_parameters():
            if "lora_" in name:
                nn.init.normal_(weight, std=0.2)
        net.save_pretrained(folder.parent / "adapter")
    return folder.parent / "adapter"


def test_latents_are_those_of_the_pipeline(folder: Path, adapter: Path) -> None:
    pipeline: Any = PixArtAlphaPipeline.from_pretrained(folder)
    pipeline.transformer = peft.PeftModel.from_pretrained(pipeline.transformer, adapter)
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    x = torch.randn(2, 4, SIZE[0] // 8, SIZE[1] // 8, generator=torch.Generator().manual_seed(0))
    expected = pipeline(
        PROMPTS,
        num_inference_steps=STEPS,
        guidance_scale=1.0,
        height=SIZE[0],
        width=SIZE[1],
        latents=x,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
        clean_caption=False,
        use_resolution_binning=False,
    ).images
    model: Any = load_editable(str(folder), loras=[LoraFile(adapter / "adapter_model.safetensors")])
    f = guided_denoiser(model, model.encode_prompts(PROMPTS), 1.0, SIZE)
    levels = grid(consistency_points, model.trained.schedule, STEPS, clean=True)
    found = integrate(f, LCM(Drawn(5)), x, levels).x
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_scale_0_changes_nothing_and_the_scale_counts(folder: Path, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"

    def estimate(*loras: LoraFile) -> Tensor:
        model: Any = load_editable(str(folder), loras=loras)
        x = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))
        out: Tensor = model.predict(x, torch.full((2,), 500.0), model.encode_prompts(PROMPTS), SIZE)
        return out

    plain, off, once, halves = (
        estimate(*loras)
        for loras in ((), (LoraFile(file, 0.0),), (LoraFile(file),), (LoraFile(file, 0.5), LoraFile(file, 0.5)))
    )
    assert torch.equal(plain, off)
    assert not torch.allclose(plain, once, rtol=0.01)
    assert torch.allclose(once, halves, atol=1e-5)


def test_scales_of_configs(folder: Path, adapter: Path, tmp_path: Path) -> None:
    """Alpha for all layers and for one, by the rank and by its root, are those of PEFT; without a config they are 1."""
    base, weights = json.loads((adapter / "adapter_config.json").read_text()), adapter / "adapter_model.safetensors"
    for number, changes in enumerate(
        ({"lora_alpha": 5}, {"alpha_pattern": {"to_q": 9}}, {"use_rslora": True}, {"lora_alpha": 3})
    ):
        case = tmp_path / str(number)
        case.mkdir()
        (case / weights.name).write_bytes(weights.read_bytes())
        (case / "adapter_config.json").write_text(json.dumps(base | changes))
        pipeline: Any = PixArtAlphaPipeline.from_pretrained(folder)
        peer = peft.PeftModel.from_pretrained(pipeline.transformer, case)
        model: Any = load_editable(str(folder), loras=[LoraFile(case / weights.name)])
        x, prompts = torch.ones(1, 4, 8, 12), model.encode_prompts(["a fox"])
        found = model.predict(x, torch.full((1,), 500.0), prompts, SIZE)
        arguments = model.network_arguments(prompts, SIZE)
        expected = peer(x, timestep=torch.full((1,), 500.0), **arguments, return_dict=False)[0][:, :4]
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    (case / "adapter_config.json").unlink()
    alone: Any = load_editable(str(folder), loras=[LoraFile(case / weights.name)])
    assert torch.allclose(alone.predict(x, torch.full((1,), 500.0), prompts, SIZE), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_alpha": float("nan")}, "scales that are no numbers"),
        ({"lora_alpha": 1e308}, "scales that are no numbers"),
        ({"use_rslora": "false"}, "scales that are no numbers"),
        ({"alpha_pattern": [1]}, "scales that are no numbers"),
        ({"use_dora": True}, "another kind than a plain LoRA"),
        ({"peft_type": "LOHA"}, "another kind than a plain LoRA"),
        ({"init_lora_weights": "pissa"}, "base weights that 'pissa' has changed"),
    ],
)
def test_configs_of_strangers_are_refused(
    folder: Path, adapter: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    base = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(base | changes))
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes((adapter / file.name).read_bytes())
    with pytest.raises(UsageError, match=message):
        load_editable(str(folder), loras=[LoraFile(file)])


def test_files_that_do_not_fit_are_refused(folder: Path, adapter: Path, tmp_path: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({key: value[..., :-1].contiguous() for key, value in weights.items()}, tmp_path / "short.safetensors")
    save_file({"base_model.model.nowhere.weight": torch.zeros(2)}, tmp_path / "strange.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    for name, message in {
        "short": "it was trained for another model",
        "strange": "is no LoRA file: it holds",
        "broken": "cannot read the LoRA file",
    }.items():
        with pytest.raises(UsageError, match=message):
            load_editable(str(folder), loras=[LoraFile(tmp_path / f"{name}.safetensors")])

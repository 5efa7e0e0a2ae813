"""Distillation to few steps: the objective in closed form, and the real command on tiny models."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_pixart
import tiny_unet
import torch
from captioned import write_captioned
from safetensors.torch import load_file

from fastdiff.cli.main import main
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.lora import LoraFile
from fastdiff.models.registry import load_editable
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.lcm import consistency_points

pytest.importorskip("peft", reason="peft is not installed")
from fastdiff.training.distillation import scores as distillation_scores
from fastdiff.training.lcm.adapter import with_adapter, without_adapter
from fastdiff.training.lcm.consistency import ConsistencyLoss

SIZE = (64, 96)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with torch.inference_mode(False):
        return tiny_pixart.write(tmp_path / "model")


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    return write_captioned(tmp_path / "captioned")


def test_teacher_takes_a_guided_step_of_ddim(folder: Path) -> None:
    model: Any = load_editable(str(folder))
    prompts = model.encode_prompts(["a fox", "a cat, on grass"])
    points = consistency_points(model.trained.schedule, 50)
    loss = ConsistencyLoss(model, model.trained.schedule, 3.0, model.empty_prompt, SIZE, points)
    x = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    guided = loss._guided(model.network, x, [points[7], points[30]], prompts)
    for row, index in enumerate((7, 30)):
        f = guided_denoiser(model, prompts.take([row]), 3.0, SIZE)
        levels = (points[index], loss.below(index))
        expected = integrate(f, DDIM(), x[row : row + 1], levels).x
        found = levels[1].alpha * guided.x0[row] + levels[1].sigma * guided.eps[row]
        assert torch.allclose(found, expected[0], rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert model.trained.schedule.timestep(loss.below(49)) == pytest.approx(0)


def test_adapter_alone_learns_and_begins_as_the_model(folder: Path) -> None:
    model: Any = load_editable(str(folder))
    prompts = model.encode_prompts(["a fox", "a cat"])
    x = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    before = model.predict(x, torch.full((2,), 500.0), prompts, SIZE)
    net = with_adapter(model.network, 3)
    assert torch.equal(before, model.predict(x, torch.full((2,), 500.0), prompts, SIZE))
    assert {name.partition("lora_")[1] for name, each in net.named_parameters() if each.requires_grad} == {"lora_"}
    points = consistency_points(model.trained.schedule, 50)
    loss = ConsistencyLoss(model, model.trained.schedule, 3.0, model.empty_prompt, SIZE, points)
    torch.manual_seed(0)
    loss(net, x, prompts.embeddings, prompts.mask).backward()
    weights = [each for name, each in net.named_parameters() if "lora_B" in name]
    assert any(each.grad is not None and each.grad.abs().max() > 0 for each in weights)
    torch.nn.init.normal_(weights[0], std=0.5)
    assert not torch.allclose(before, model.predict(x, torch.full((2,), 500.0), prompts, SIZE), rtol=0.01)
    with without_adapter(net):
        assert torch.equal(before, model.predict(x, torch.full((2,), 500.0), prompts, SIZE))


def test_command_writes_a_lora_that_edit_loads_and_resumes(folder: Path, captioned: Path, tmp_path: Path) -> None:
    run = ["train", "lcm", str(folder), "--pictures", str(captioned), "--folder", str(tmp_path / "run"), "--batch", "2"]
    assert main([*run, "--steps", "2", "--rank", "2"]) == 0
    file = tmp_path / "run" / "lcm" / "adapter_model.safetensors"
    first = load_file(file)
    load_editable(str(folder), loras=[LoraFile(file)])
    assert {path.name for path in file.parent.iterdir()} == {file.name, "adapter_config.json", "card.json"}
    assert str(tmp_path) not in file.with_name("adapter_config.json").read_text()
    scores = json.loads(file.with_name("card.json").read_text())["scores"]
    assert scores["lcm, psnr"] > 0 and scores["lcm, detail"] > 0
    assert main([*run, "--steps", "3", "--rank", "2"]) == 0
    assert any(not torch.equal(value, first[key]) for key, value in load_file(file).items())


def test_checkpoints_of_another_guidance_begin_anew(folder: Path, captioned: Path, tmp_path: Path) -> None:
    run = ["train", "lcm", str(folder), "--pictures", str(captioned), "--folder", str(tmp_path / "run"), "--batch", "2"]
    made = []
    for guidance in ("2", "6"):
        assert main([*run, "--steps", "1", "--rank", "2", "--guidance", guidance]) == 0
        made.append(load_file(tmp_path / "run" / "lcm" / "adapter_model.safetensors"))
    assert any(not torch.equal(value, made[0][key]) for key, value in made[1].items())


def test_stable_diffusion_learns_a_lora_that_edit_loads(captioned: Path, tmp_path: Path) -> None:
    folder = tiny_unet.write_stable_diffusion(tmp_path / "sd")
    run = ["train", "lcm", str(folder), "--pictures", str(captioned), "--folder", str(tmp_path / "run"), "--batch", "2"]
    assert main([*run, "--steps", "2", "--rank", "2"]) == 0
    file = tmp_path / "run" / "lcm" / "adapter_model.safetensors"
    plain, tuned = (load_editable(str(folder), loras=loras).network.state_dict() for loras in ((), [LoraFile(file)]))
    changed = {name.removesuffix(".weight") for name, weight in plain.items() if not torch.equal(weight, tuned[name])}
    layers = {key.removeprefix("base_model.model.").partition(".lora_")[0] for key in load_file(file)}
    assert changed == layers


def test_bundled_model_learns_from_rendered_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation_scores, "PROMPTS", 2)  # the full 16 take a minute and a half
    run = ["train", "lcm", "scenes", "--folder", str(tmp_path), "--steps", "1", "--batch", "2", "--rank", "1"]
    assert main(run) == 0
    assert (tmp_path / "lcm" / "card.json").exists()


def test_refusals(folder: Path, captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (captioned / "0.txt").unlink()
    (captioned / "1.txt").unlink()
    (captioned / "2.txt").unlink()
    out = ["--folder", str(tmp_path / "run")]
    for arguments, sentence in (
        ([str(folder)], "give their folder by --pictures"),
        ([str(folder), "--pictures", str(captioned)], "holds 9 pictures with captions"),
        (["photos"], "photos"),
    ):
        assert main(["train", "lcm", *arguments, *out]) == 2
        assert sentence in capsys.readouterr().err

"""Training of SpeedUpNets: the objective in closed form, and the real command on tiny models of both families."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_pixart
import tiny_unet
import torch
from captioned import write_captioned
from safetensors.torch import load_file
from torch import Tensor

from fastdiff.cli.main import main
from fastdiff.models import read_speedup_file, speedup_denoiser, speedup_grid
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_editable
from fastdiff.models.speedup.adapter import begin_speedup
from fastdiff.solvers.ddim import DDIM
from fastdiff.solvers.integration import integrate
from fastdiff.training.distillation import scores as distillation_scores
from fastdiff.training.speedup.loss import SpeedUpLoss, between, clean_estimate

FOLDERS: dict[str, Callable[[Path], Path]] = {
    "pixart": tiny_pixart.write,
    "stable-diffusion": tiny_unet.write_stable_diffusion,
}


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    return write_captioned(tmp_path / "captioned")


@pytest.fixture
def model(tmp_path: Path) -> Any:
    with torch.inference_mode(False):
        return load_editable(str(tiny_pixart.write(tmp_path / "model")))


def randoms(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_one_step_with_the_wanted_estimate_ends_where_the_teacher_ends(model: Any) -> None:
    f = guided_denoiser(model, model.encode_prompts(["a fox"]), 1.0, (64, 64))
    x = randoms(1, 4, 8, 8)
    for start, end in pairwise(speedup_grid(model.trained.schedule)):
        with torch.no_grad():
            estimate, ended = f(x, start), integrate(f, DDIM(), x, (start, end)).x
        assert torch.allclose(clean_estimate(x, start, ended, end), estimate.x0, rtol=1e-3, atol=1e-3)


def test_teacher_steps_divide_a_step_evenly(model: Any) -> None:
    schedule = model.trained.schedule
    start, end = speedup_grid(schedule)[-2:]
    levels = between(schedule, start, end, 5)
    assert (levels[0], levels[-1]) == (start, end)
    assert [round(schedule.timestep(level)) for level in levels] == [249, 199, 149, 99, 49, -1]


def test_negative_prompts_are_those_of_other_rows_or_empty(model: Any) -> None:
    prompts, empty = model.encode_prompts(["a fox", "a cat", "a dog", "grass"]), model.encode_prompts([""])
    loss = SpeedUpLoss(model, model.trained.schedule, 3.0, empty, (64, 64))
    torch.manual_seed(0)
    found, kinds = loss.negative_prompts(prompts.repeat(8)), set()
    for row in range(32):
        others = {number for number in range(4) if torch.equal(found.mask[row], prompts.mask[number])}
        is_other = torch.equal(found.embeddings[row], prompts.embeddings[(row + 1) % 4])
        is_empty = torch.equal(found.embeddings[row], empty.embeddings[0])
        assert is_other != is_empty
        assert torch.equal(found.mask[row], empty.mask[0]) if is_empty else others
        kinds.add(is_empty)
    assert kinds == {True, False}


def test_training_lowers_the_loss_of_the_adapter_alone(model: Any) -> None:
    model.network.requires_grad_(False)
    prompts = model.encode_prompts(["a fox", "a cat, on grass", "a dog", "grass"])
    loss = SpeedUpLoss(model, model.trained.schedule, 3.0, model.empty_prompt, (64, 64))
    net, clean = begin_speedup(model.network), randoms(4, 4, 8, 8)
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=1e-2), []
    for _ in range(12):
        torch.manual_seed(0)
        value = loss(net, clean, prompts.embeddings, prompts.mask)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(weight.grad is None for weight in model.network.parameters())
    assert all(weight.grad is not None for weight in net.parameters())


@pytest.mark.parametrize("family", FOLDERS)
def test_command_writes_an_adapter_with_scores_and_resumes(family: str, captioned: Path, tmp_path: Path) -> None:
    folder = FOLDERS[family](tmp_path / "model")
    run = ["train", "speedup", str(folder), "--pictures", str(captioned), "--folder", str(tmp_path / "run")]
    assert main([*run, "--batch", "5", "--steps", "2"]) == 0
    path = tmp_path / "run" / "speedup" / "speedup.safetensors"
    first = load_file(path)
    card = json.loads(path.with_name("card.json").read_text())
    assert card["scores"]["speedup, psnr"] > 0 and card["recipe"]["steps"] == 2
    assert str(tmp_path) not in json.dumps(card)
    read = read_speedup_file(path)
    assert read.fingerprint == card["base"]["fingerprint"]
    model: Any = load_editable(str(folder))
    speedup_denoiser(model, read.adapter, model.encode_prompts(["a fox"]), (64, 64))
    assert main([*run, "--batch", "5", "--steps", "2"]) == 0
    assert all(torch.equal(value, first[name]) for name, value in load_file(path).items())
    assert main([*run, "--batch", "5", "--steps", "3"]) == 0
    assert any(not torch.equal(value, first[name]) for name, value in load_file(path).items())


@pytest.mark.slow
def test_bundled_model_learns_from_rendered_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation_scores, "PROMPTS", 2)  # the full 16 take a minute and a half
    assert main(["train", "speedup", "scenes", "--folder", str(tmp_path), "--steps", "1", "--batch", "2"]) == 0
    assert (tmp_path / "speedup" / "card.json").exists()


def test_refusals(captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tiny_pixart.write(tmp_path / "model"))
    xl = str(tiny_unet.write_stable_diffusion(tmp_path / "xl", xl=True))
    for number in range(3):
        (captioned / f"{number}.txt").unlink()
    out = ["--folder", str(tmp_path / "run")]
    for arguments, sentence in (
        ([folder], "give their folder by --pictures"),
        ([folder, "--pictures", str(captioned)], "holds 9 pictures with captions"),
        ([xl, "--pictures", str(captioned)], "give a model of PixArt or Stable Diffusion 1 or 2"),
        (["photos"], "photos"),
    ):
        assert main(["train", "speedup", *arguments, *out]) == 2
        assert sentence in capsys.readouterr().err

"""Scores of distillations: known students, known blur, and a teacher that training leaves as it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_pixart
import torch
from captioned import write_captioned
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fastdiff.models.diffusion_model import Conditioning
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_editable
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.unipc import UniPC
from fastdiff.training.distillation.captioned_pictures import CaptionedPictures
from fastdiff.training.distillation.scores import detail, score

DATA = Path(__file__).parents[1] / "data"
SIZE, GUIDANCE = (64, 64), 3.0


@pytest.fixture
def model(tmp_path: Path) -> Any:
    with torch.inference_mode(False):
        return load_editable(str(tiny_pixart.write(tmp_path / "model")))


def test_students_that_are_the_teacher_score_as_it_does(model: Any, tmp_path: Path) -> None:
    held_out = CaptionedPictures(model, write_captioned(tmp_path / "captioned"), 2, 0).held_out()

    def sampled(scale: float, solver: Any, steps: int) -> Any:
        def sample(prompts: Conditioning, noise: Tensor) -> Tensor:
            f = guided_denoiser(model, prompts, scale, SIZE)
            return integrate(f, solver, noise, grid(time_uniform, f.schedule, steps)).x

        return lambda: score(model, "student", sample, GUIDANCE, held_out)

    long = sampled(GUIDANCE, dpmpp_2m(), 25)()
    assert long["student, psnr"] > 90 and long["student, detail"] == 1
    assert long["prompts"] == 2
    for scale, kind in ((GUIDANCE, "with"), (1.0, "without")):
        scores = sampled(scale, UniPC(), 4)()
        for measure in ("psnr", "detail"):
            assert scores[f"student, {measure}"] == scores[f"unipc {kind} guidance, {measure}"]
        assert scores["student, psnr"] < 90


def test_blur_has_less_detail_and_noise_more() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, 3, 32, 32, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)
    blurred = avg_pool2d(pictures, 9, stride=1, padding=4)
    noisy = pictures + 0.2 * torch.randn(pictures.shape, generator=generator)
    assert detail(pictures, pictures) == 1
    assert detail(blurred, pictures) < 0.7 < 1.3 < detail(noisy, pictures)
    assert detail(pictures.flip(-1), pictures) == pytest.approx(1)
    assert detail(torch.zeros_like(pictures), pictures) == 0


def test_training_of_a_lora_leaves_the_network_of_the_teacher(model: Any, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    from fastdiff.training.lcm.train import TrainOptions, run

    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    examples = CaptionedPictures(model, write_captioned(tmp_path / "captioned"), 2, 0)
    run(TrainOptions(folder=tmp_path, model=str(tmp_path / "model"), steps=3, batch=2, rank=2), model, examples)
    after = model.network.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("name", ["lcm", "speedup"])
def test_bundled_students_are_sharper_than_as_many_calls_without_guidance(name: str) -> None:
    scores = json.loads((DATA / f"scenes-{name}" / "card.json").read_text())["scores"]
    assert scores["prompts"] == 16
    assert scores[f"{name}, detail"] > scores["unipc without guidance, detail"] + 0.1

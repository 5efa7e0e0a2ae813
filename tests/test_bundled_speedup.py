"""The SpeedUpNet of the bundled model: its card, what it obeys in four calls, and that fine-tunes take it."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.accelerate.text_to_image import guided_sampler, speedup_sampler
from fastdiff.apps.similarity import psnr
from fastdiff.models import bundled_speedup, fingerprint, recogniser
from fastdiff.models.captions import background
from fastdiff.models.registry import load_editable
from fastdiff.training.card import without_machine
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import SIDE, draw
from fastdiff.training.speedup.train import TrainOptions
from fastdiff.training.velocity import scheduler, velocity_loss

FOLDER = Path(__file__).parents[1] / "data" / "scenes-speedup"
LARGEST = 6_000_000  # bytes


def test_card_is_that_of_the_file_and_of_the_bundled_model() -> None:
    card = json.loads((FOLDER / "card.json").read_text())
    content = (FOLDER / "speedup.safetensors").read_bytes()
    assert len(content) == card["bytes"] < LARGEST
    assert hashlib.sha256(content).hexdigest() == card["sha256"]["speedup.safetensors"]
    stored = bundled_speedup()
    base = {"name": "scenes", "fingerprint": fingerprint.of_folder("scenes")}
    assert card["base"] == base == {"name": stored.model, "fingerprint": stored.fingerprint}
    assert card["parameters"] == sum(value.numel() for value in stored.adapter.parameters())
    options = TrainOptions(folder=FOLDER, model="scenes", **card["recipe"])
    assert without_machine(asdict(options), "folder", "model") == card["recipe"]
    assert card["scores"]["speedup, psnr"] > card["scores"]["unipc without guidance, psnr"]


@torch.no_grad()
def test_negative_prompt_removes_a_colour_in_four_calls() -> None:
    prompts = ("airplane", "snail", "camera", "wrapped gift", "pineapple", "motor scooter")
    sampler, read = speedup_sampler(load_editable("scenes")), recogniser.bundled().read
    numbers = tuple(range(len(prompts)))
    unwanted = [reading.colours[0] for reading in read(sampler(prompts, numbers))]
    found = read(sampler(prompts, numbers, [background("plain", (colour,)) for colour in unwanted]))
    assert sum(colour in reading.colours for colour, reading in zip(unwanted, found, strict=True)) <= 1
    assert sum(prompt == reading.concept for prompt, reading in zip(prompts, found, strict=True)) >= 5


@pytest.mark.slow
def test_adapter_follows_a_fine_tune_on_other_scenes() -> None:
    """The other scenes are those of night, half as bright."""
    base, tuned = load_editable("scenes"), load_editable("scenes")
    fine_tune(tuned, brightness=0.5)
    prompts, numbers = ("fox on a teal background", "skull on a pink background"), (0, 1)
    with torch.no_grad():
        guided = [guided_sampler(model, 4.0, "unipc", 12)(prompts, numbers) for model in (base, tuned)]
        quick = [speedup_sampler(model)(prompts, numbers) for model in (base, tuned)]
    for before, after in (guided, quick):
        assert after.mean() < before.mean() - 0.1
    assert psnr(quick[1], guided[1]) > 2 + max(psnr(guided[0], guided[1]), psnr(quick[0], guided[1]))


def fine_tune(model: Any, brightness: float) -> None:
    """Train all weights of the network for five steps on scenes of another brightness."""
    renderer, rng, loss = Renderer(), np.random.default_rng(3), velocity_loss(scheduler().alphas_cumprod)
    optimizer = torch.optim.AdamW(model.network.requires_grad_(True).parameters(), lr=5e-4)
    torch.manual_seed(0)
    for _ in range(5):
        scenes = [draw(rng) for _ in range(8)]
        pictures = torch.stack([as_tensor(renderer.picture(scene)) for scene in scenes])
        with torch.no_grad():
            clean = model.encode(brightness * (pictures + 1) - 1)
            prompts = model.encode_prompts([*(scene.caption for scene in scenes[:6]), "", ""])
        value = loss(model.predict, clean, prompts, (SIDE, SIDE))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    model.network.requires_grad_(False)

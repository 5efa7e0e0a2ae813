"""Training the prior of attack through its command, for two steps."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from fastdiff.cli.main import main
from fastdiff.models.registry import load_model
from fastdiff.training.prior import train


def test_a_prior_is_trained_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "FITTED_TO", 20)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, picture in (("cat", data.chelsea()), ("coffee", data.coffee())):
        Image.fromarray(picture).save(photos / f"{name}.png")
    run = ["train", "prior", "--photos", str(photos), "--folder", str(tmp_path / "run"), "--batch", "2", "--steps"]
    assert main([*run, "1"]) == 0
    assert main([*run, "2"]) == 0
    assert torch.load(tmp_path / "run" / "prior.state.pt", weights_only=True)["step"] == 2
    prior = load_model(str(tmp_path / "run" / "photos"))
    assert prior.encode(torch.zeros(1, 3, 192, 192)).shape == (1, 48, 24, 24)
    card = json.loads((tmp_path / "run" / "photos" / "card.json").read_text())
    assert card["recipe"]["steps"] == 2 and len(card["data"]["photos"]) == 2

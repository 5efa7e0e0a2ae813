"""The weights that ship are what their card says."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fastdiff.models.restorers import BUNDLED, read_pair
from fastdiff.training.docclean import fonts

DATA = Path(str(files("fastdiff.data")))
LARGEST = 8 * 2**20  # bytes of a file


@pytest.fixture(params=sorted({*BUNDLED.values(), *(path.name for path in DATA.glob("docclean*.safetensors"))}))
def weights(request: pytest.FixtureRequest) -> Path:
    return DATA / request.param


@pytest.fixture
def card(weights: Path) -> dict:
    return json.loads(weights.with_suffix(".json").read_text())


def test_the_file_is_the_one_of_the_card(weights: Path, card: dict) -> None:
    content = weights.read_bytes()
    assert card["file"] == weights.name
    assert len(content) == card["bytes"] <= LARGEST
    assert hashlib.sha256(content).hexdigest() == card["sha256"]


def test_the_networks_are_those_of_the_card(weights: Path, card: dict) -> None:
    tensors = load_file(weights)
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    for stage, count in card["parameters"].items():
        assert sum(value.numel() for name, value in tensors.items() if name.startswith(f"{stage}.")) == count
    assert sum(card["parameters"].values()) == sum(value.numel() for value in tensors.values())
    pair = read_pair(weights)
    assert pair.channels == card["network"]["channels"]
    assert len(pair.predictor.get_parameter("intro.weight")) == card["network"]["width"]
    assert len([*pair.predictor.get_submodule("downs").children()]) == card["network"]["levels"]


def test_the_card_holds_licences_and_settings(card: dict) -> None:
    assert card["licence"] == "Apache-2.0"
    assert set(card["recipe"]) == set(card["parameters"])
    assert not set(card["data"]["fonts"]) & set(fonts.HELD_OUT)
    assert all(fonts.licence(family) == name for family, name in card["data"]["fonts"].items())
    assert len(card["data"]["sha256"]) == 64

"""What is attacked in tests: a picture of scikit-image, a network of three colours. Priors are tiny and random."""

from pathlib import Path

import numpy as np
import pytest
import tiny_unet
from PIL import Image
from skimage import data

COLOURS = """
import torch
class Colours(torch.nn.Module):
    side = 32
    names = ("red", "green", "blue")
    def forward(self, x):
        return 60 * x.mean((2, 3))
class Shifted(Colours):
    def forward(self, x):
        return super().forward(x).roll(1, 1)
class Reordered(Shifted):
    names = ("blue", "red", "green")
class Fruit(Colours):
    names = ("cherry", "lime", "plum")
class Synonyms(Colours):
    names = ("crimson, Red", "teal", "blue_, navy")
class Undefined(Colours):
    def forward(self, x):
        return super().forward(x) * float("nan")
class Trained(Colours):
    def __init__(self):
        super().__init__()
        self.register_buffer("gain", torch.load("gain.pt"))
    def forward(self, x):
        return self.gain * super().forward(x)
"""


@pytest.fixture(scope="session")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_unet.write_prior(tmp_path_factory.mktemp("prior") / "tiny")


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_unet.write_stable_diffusion(tmp_path_factory.mktemp("prior") / "tiny")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A cat, 150 x 100 pixels."""
    path = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).resize((150, 100), Image.Resampling.LANCZOS).save(path)
    return path


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A classifier that tells which of three colours a picture has most of; `Shifted` is off by one."""
    (tmp_path / "colour_net.py").write_text(COLOURS)
    monkeypatch.chdir(tmp_path)
    return "module:colour_net:Colours"


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """Seven pictures of each colour, almost grey, and a table of their labels and targets."""
    folder, rng = tmp_path / "greys", np.random.default_rng(0)
    folder.mkdir()
    rows = ["image,true_label,target_label,author"]
    for number in range(21):
        pixels = rng.integers(110, 140, (40, 40, 3), dtype=np.uint8)
        pixels[..., number % 3] += 8
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,{number % 3},{(number + 1) % 3},someone")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return folder

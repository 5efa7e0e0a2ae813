"""What is attacked in tests: a photograph of scikit-image, by a tiny prior of random weights."""

from pathlib import Path

import pytest
import tiny_unet
from PIL import Image
from skimage import data


@pytest.fixture(scope="session")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_unet.write_prior(tmp_path_factory.mktemp("prior") / "tiny")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A cat, 150 x 100 pixels."""
    path = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).resize((150, 100), Image.Resampling.LANCZOS).save(path)
    return path

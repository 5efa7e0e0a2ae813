"""Scenes, drawn once for all tests of editing."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import Renderer
from fastdiff.training.edit.scenes import draw


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return Renderer()


@pytest.fixture(scope="session")
def pictures(renderer: Renderer) -> Tensor:
    """300 random scenes, (300, 3, 128, 128) in [-1, 1]."""
    rng = np.random.default_rng(1)
    return torch.stack([as_tensor(renderer.picture(draw(rng))) for _ in range(300)])

"""Guidance is where the changed words are heard and where it is strongest."""

import torch
from problems import LINEAR_BETAS
from tiny_transformer import randoms
from torch import Tensor

from fastdiff.apps.edit.control import AttentionMaps
from fastdiff.apps.edit.guidance_mask import SHAPED, WordsAndGuidanceMask
from fastdiff.solvers.grids import grid, linspace

LEVELS = grid(linspace, LINEAR_BETAS, 10)
SHAPELESS, SHAPELY = 0, 9  # steps
WORDS = torch.tensor([[[0.0, 0, 0, 3], [4, 0, 0, 0]]])  # of source and target, on 2 x 2 tokens


def masks(step: int, guidance: Tensor, quantile: float = 0.5) -> Tensor:
    maps = AttentionMaps()
    maps.total = torch.cat([torch.full_like(WORDS, 9), WORDS])
    return WordsAndGuidanceMask(maps, 1, (2, 2), quantile)(guidance, LEVELS[step])


def test_early_steps_are_guided_where_words_of_either_prompt_are_heard() -> None:
    assert LEVELS[SHAPELESS].t > SHAPED > LEVELS[SHAPELY].t
    mask = masks(SHAPELESS, randoms(2, 3, 2, 2))
    assert mask[1, 0].tolist() == [[1, 0], [0, 1]] and mask.shape == (2, 1, 2, 2)


def test_later_steps_are_guided_where_guidance_is_strong_too() -> None:
    guidance = torch.zeros(2, 3, 2, 2)
    guidance[1, :, 0, 0], guidance[1, :, 0, 1] = -2, 1
    assert masks(SHAPELY, guidance)[1, 0].tolist() == [[1, 0], [0, 0]]


def test_the_source_is_guided_everywhere() -> None:
    assert (masks(SHAPELY, randoms(2, 3, 2, 2))[0] == 1).all()


def test_no_quantile_is_no_mask() -> None:
    assert (masks(SHAPELY, randoms(2, 3, 2, 2), quantile=0) == 1).all()


def test_a_quantile_leaves_out_its_share_of_a_large_picture() -> None:
    mask = masks(SHAPELESS, randoms(2, 3, 40, 40), quantile=0.9)
    assert abs(mask[1].mean() - 0.1) < 0.01

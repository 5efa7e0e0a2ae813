"""What training on pages is given in tests: few textures to degrade them with, which take as long as all else."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from fastdiff.training.docclean import textures


@pytest.fixture(scope="module")
def few_textures() -> Iterator[None]:
    @cache
    def bank(seed: int) -> textures.Bank:
        return textures.make_bank(np.random.default_rng(seed), count=2, side=256)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textures, "cached_bank", bank)
        yield

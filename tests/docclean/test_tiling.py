"""Tiles leave no trace: whatever the size of the page, of the batch, and the order they are computed in."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import text_page
from torch import Tensor

from fastdiff.apps.docclean.options import CALLS, SOLVER
from fastdiff.apps.docclean.restoration.tiled_restorer import TiledRestorer
from fastdiff.apps.docclean.restoration.tiling import TiledNetwork, spans
from fastdiff.models.restorers import read_pair
from fastdiff.solvers.registry import SOLVERS

WEIGHTS = Path(str(files("fastdiff.data"))) / "docclean.safetensors"
GREY = 1 / 255


def identity(x: Tensor) -> Tensor:
    return x


def tile_mean(x: Tensor) -> Tensor:
    """Couples every pixel of a tile with all others, as channel attention does."""
    return x.mean((2, 3), keepdim=True).expand_as(x)


@pytest.mark.parametrize("overlap", [1, 8, 31])
def test_shares_of_every_pixel_add_up_to_one(overlap: int) -> None:
    for length in range(1, 601):
        total = torch.zeros(length)
        for span in spans(length, 64, overlap):
            assert span.share.min() >= 0
            assert torch.equal(span.source[span.inside], torch.arange(length)[span.target])
            total[span.target] += span.share[span.inside]
        torch.testing.assert_close(total, torch.ones(length), rtol=0, atol=1e-6)


def test_a_net_that_changes_nothing_changes_nothing_at_any_size() -> None:
    tiled = TiledNetwork(identity, tile=64, overlap=16, batch=8)
    for length in range(1, 601):
        for shape in ((1, 1, length, 70), (1, 3, 5, length)):
            page = torch.rand(shape)
            torch.testing.assert_close(tiled(page), page, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_the_size_of_a_batch_changes_nothing(batch: int) -> None:
    page = torch.rand(1, 1, 200, 150)
    one = TiledNetwork(tile_mean, tile=64, overlap=16, batch=1)(page)
    torch.testing.assert_close(TiledNetwork(tile_mean, tile=64, overlap=16, batch=batch)(page), one, rtol=0, atol=1e-6)


def test_the_order_of_tiles_changes_nothing() -> None:
    """A page on its side is cut in the same tiles, column by column instead of row by row."""
    page = torch.rand(1, 1, 200, 150)
    tiled = TiledNetwork(tile_mean, tile=64, overlap=16, batch=3)
    torch.testing.assert_close(tiled(page.mT).mT, tiled(page), rtol=0, atol=1e-6)


def test_a_page_is_extended_beyond_its_edge() -> None:
    """A network sees the repeated edge of the page around the page."""
    page = torch.rand(1, 1, 30, 100)

    def moved(x: Tensor) -> Tensor:
        return x.roll((8, -8), (2, 3))

    done = TiledNetwork(moved, tile=64, overlap=16)(page)
    torch.testing.assert_close(done[..., :9, :20], page[..., :1, 8:28].expand(1, 1, 9, 20), rtol=0, atol=1e-6)


def test_other_arguments_are_cut_with_the_page_or_go_to_every_tile() -> None:
    page, other, label = torch.rand(1, 1, 90, 130), torch.rand(1, 1, 90, 130), torch.tensor([7.0])

    def net(x: Tensor, label: Tensor, other: Tensor) -> Tensor:
        return x + label[:, None, None, None] * other

    done = TiledNetwork(net, tile=64, overlap=16)(page, label, other)
    torch.testing.assert_close(done, page + 7 * other, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def restore() -> Callable[[np.ndarray], np.ndarray]:
    """The bundled weights, solver and number of calls, on grey pages in [0, 1]."""
    restorer = TiledRestorer(read_pair(WEIGHTS), SOLVERS[SOLVER], CALLS)
    return lambda page: restorer(torch.from_numpy(page.astype(np.float32)), 0).numpy()


@pytest.fixture(scope="module")
def dirty() -> np.ndarray:
    """Text on grey paper that gets darker to the right."""
    page = text_page(size=24) / 255
    return page * np.linspace(0.95, 0.6, page.shape[1])


def test_white_pages_stay_white(restore) -> None:
    assert restore(np.ones((300, 500))).min() > 1 - 2 * GREY


def test_tiles_leave_no_seams(restore, dirty: np.ndarray) -> None:
    """At tile borders, gradients are as large as in the same places of a page with other tiles."""
    shift = 64
    restored = restore(dirty)
    moved = restore(np.pad(dirty, ((shift, 0), (shift, 0)), mode="edge"))[shift:, shift:]
    for axis in (0, 1):
        length = dirty.shape[axis]
        borders = {edge for span in spans(length, 256, 32) for edge in (span.target.start, span.target.stop)}
        ends = [border - 1 for border in borders - {0, length}]
        seam, same = (np.abs(np.diff(page, axis=axis)).take(ends, axis).mean() for page in (restored, moved))
        assert seam == pytest.approx(same, rel=0.05)


def test_a_page_moved_by_a_pixel_is_restored_alike(restore, dirty: np.ndarray) -> None:
    left, right = restore(dirty[:, :-1]), restore(dirty[:, 1:])
    assert np.abs(left[:, 1:] - right[:, :-1]).mean() < 1.5 * GREY

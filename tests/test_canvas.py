"""The way of a picture onto a model's size and back."""

import pytest
import torch

from fastdiff.apps.canvas import (
    EDITED,
    REACH,
    ROUNDING,
    SOFTNESS,
    UNTOUCHED,
    edited_share,
    fit_canvas,
    without_rounding,
)
from fastdiff.solvers.errors import UsageError

SIZES = [(128, 128), (120, 90), (301, 97), (1000, 640), (17, 33)]


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("size", SIZES)
def test_what_was_not_edited_returns_however_bad_the_codec(size: tuple[int, int]) -> None:
    canvas = fit_canvas(random(1, 3, *size), resolution=128, size_multiple=16)
    reconstruction = torch.zeros_like(canvas.picture)
    share = edited_share(reconstruction, reconstruction + UNTOUCHED / 2 / 127.5)
    assert torch.equal(canvas.restore_unedited(reconstruction, share), canvas.original)


@pytest.mark.parametrize("size", SIZES)
def test_the_canvas_has_the_models_area_and_multiples(size: tuple[int, int]) -> None:
    canvas = fit_canvas(random(1, 3, *size), resolution=128, size_multiple=16)
    height, width = canvas.picture.shape[-2:]
    assert height % 16 == width % 16 == 0
    assert canvas.scaled[0] * canvas.scaled[1] == pytest.approx(128**2, rel=0.35)
    assert canvas.scaled[0] / canvas.scaled[1] == pytest.approx(size[0] / size[1], rel=0.05)


def test_only_the_edited_half_is_taken_from_the_model() -> None:
    canvas = fit_canvas(random(1, 3, 128, 128), resolution=128, size_multiple=16)
    edited, reconstruction = torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128)
    edited[..., 64:] = 0.5
    done = canvas.restore_unedited(edited, edited_share(reconstruction, edited))
    assert torch.equal(done[..., 64:], edited[..., 64:])
    assert torch.equal(done[..., : 64 - REACH], canvas.original[..., : 64 - REACH])


def test_latents_that_differ_by_rounding_are_the_same_ones() -> None:
    before = random(1, 4, 6, 6)
    after = before + ROUNDING / 2
    after[..., 2, 3] += 1
    mended = without_rounding(before, after)
    assert torch.equal(mended[..., 2, 3], after[..., 2, 3])
    after[..., 2, 3] = before[..., 2, 3]
    assert torch.equal(without_rounding(before, after), before)


def test_an_even_change_counts_evenly_and_an_edge_softly() -> None:
    before = torch.zeros(1, 3, 64, 64)
    even = edited_share(before, before + (UNTOUCHED + EDITED) / 2 / 127.5)
    assert torch.allclose(even, torch.full_like(even, 0.5))
    after = before.clone()
    after[..., 20:40, 20:40] = 1
    after[..., 28:32, 28:32] = 0  # a hole
    share = edited_share(before, after)
    assert share[..., 20:40, 20:40].min() == 1 and share[..., :10].max() == 0
    assert share.diff(dim=-1).abs().max() <= 1 / SOFTNESS + 1e-6


@pytest.mark.parametrize("size", [(15, 100), (30, 121)])
def test_slivers_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="sides from 16"):
        fit_canvas(random(1, 3, *size), resolution=128, size_multiple=16)

"""The way of a picture onto a model's size and back."""

import pytest
import torch

from fastdiff.apps.canvas import EDITED, UNTOUCHED, edited_share, fit_canvas
from fastdiff.solvers.errors import UsageError

SIZES = [(128, 128), (120, 90), (301, 97), (1000, 640), (17, 33)]


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("size", SIZES)
def test_what_was_not_edited_returns_however_bad_the_codec(size: tuple[int, int]) -> None:
    canvas = fit_canvas(random(1, 3, *size), resolution=128, size_multiple=16)
    reconstruction = torch.zeros_like(canvas.picture)
    share = torch.zeros(1, 1, *(side // 8 for side in reconstruction.shape[-2:]))
    assert torch.allclose(canvas.add_residual(reconstruction, reconstruction, share), canvas.original, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_canvas_has_the_models_area_and_multiples(size: tuple[int, int]) -> None:
    canvas = fit_canvas(random(1, 3, *size), resolution=128, size_multiple=16)
    height, width = canvas.picture.shape[-2:]
    assert height % 16 == width % 16 == 0
    assert canvas.scaled[0] * canvas.scaled[1] == pytest.approx(128**2, rel=0.35)
    assert canvas.scaled[0] / canvas.scaled[1] == pytest.approx(size[0] / size[1], rel=0.05)


def test_only_the_edited_half_is_taken_from_the_model() -> None:
    canvas = fit_canvas(random(1, 3, 128, 128), resolution=128, size_multiple=16)
    share = torch.zeros(1, 1, 16, 16)
    share[..., 8:] = 1
    edited, reconstruction = torch.full((1, 3, 128, 128), 0.5), torch.zeros(1, 3, 128, 128)
    done = canvas.add_residual(edited, reconstruction, share)
    assert torch.equal(done[..., 70:], edited[..., 70:])
    assert torch.allclose(done[..., :58], (canvas.original + 0.5).clamp(-1, 1)[..., :58])


def test_a_latent_is_edited_as_far_as_its_most_edited_neighbour() -> None:
    before = torch.zeros(1, 4, 5, 5)
    after = before.clone()
    after[..., 2, 2] = (UNTOUCHED + EDITED) / 2
    expected = torch.zeros(1, 1, 5, 5)
    expected[..., 1:4, 1:4] = 0.5
    assert torch.allclose(edited_share(before, after), expected)
    assert not edited_share(before, before + UNTOUCHED / 2).any()


@pytest.mark.parametrize("size", [(15, 100), (30, 121)])
def test_slivers_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="sides from 16"):
        fit_canvas(random(1, 3, *size), resolution=128, size_multiple=16)

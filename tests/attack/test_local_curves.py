"""Perturbations of light: what they keep, how smooth they are, and that they fool."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn

from fastdiff.apps.attack import attack
from fastdiff.apps.attack.local_curves import DARKEST, SHADES, WARMTH, LocalCurves
from fastdiff.apps.attack.naturalness import compare, low_frequencies
from fastdiff.apps.attack.options import Options
from fastdiff.apps.attack.space import eight_bits
from fastdiff.apps.images.picture import to_uint8
from fastdiff.cli.main import main
from fastdiff.solvers.errors import UsageError


def cat() -> Tensor:
    return torch.from_numpy(data.chelsea()[:, 50:350].copy()).movedim(-1, 0)[None] / 255


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 5)).eval()


def random_signs(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).sign()


def test_no_perturbation_returns_the_very_pixels() -> None:
    every_colour = torch.arange(256).expand(3, 20, 256)[None] / 255
    for pictures in (cat(), every_colour, every_colour[:, :1]):
        space = LocalCurves.of(pictures)
        assert torch.equal(space.decode(space.unperturbed), pictures)


def test_an_even_grid_is_one_curve_of_the_whole_picture() -> None:
    """Light of 0.3 and warmth of 0.2 raise every colour to one power a channel, where the effect is whole."""
    pictures = cat().double()
    space = LocalCurves.of(pictures)
    whole = LocalCurves(pictures, space.places, torch.ones_like(space.effect))
    light, warmth = 0.3, 0.2
    grid = torch.tensor([light, warmth], dtype=torch.double)[:, None, None, None].expand_as(space.unperturbed)
    powers = np.exp(-light - np.array([WARMTH, 0, -WARMTH]) * warmth)
    expected = pictures.clamp(min=DARKEST) ** torch.tensor(powers)[:, None, None]
    torch.testing.assert_close(whole.decode(grid), eight_bits(expected))


def test_black_white_and_order_of_colours_stay_and_even_areas_change_least() -> None:
    pictures = cat().clone()
    pictures[..., :60, :] = 153 / 255  # an even sky
    pictures[..., 200:210, :] = 1.0
    pictures[..., 210:220, :] = 0.0
    space = LocalCurves.of(pictures)
    made = space.decode(0.45 * random_signs(space.unperturbed))
    assert torch.equal(made[..., 203:207, :], torch.ones(1, 3, 4, 300))
    assert torch.equal(made[..., 213:217, :], torch.zeros(1, 3, 4, 300))
    change = (made - pictures).abs()
    assert change[..., 4:40, :].max() == 0 and change[..., 80:190, :].mean() > 0.02


def test_curves_of_any_size_keep_colours_within_their_range() -> None:
    space = LocalCurves.of(cat())
    for light in (-100.0, 100.0):
        made = space.decode(torch.full_like(space.unperturbed, light))
        assert made.min() >= 0 and made.max() <= 1


def test_light_ends_at_edges() -> None:
    """Of two halves in one cell of the grid, only the bright one changes if only bright shades have light."""
    pictures = torch.full((1, 3, 64, 64), 38 / 255)
    pictures[..., 30:] = 204 / 255
    space = LocalCurves.of(pictures)
    grid = space.unperturbed.index_fill(2, torch.arange(SHADES // 2, SHADES), 0.4)
    change = (space.decode(grid) - pictures)[:, 1].abs()
    assert change[..., :29].max() == 0 and change[..., 31:33].min() > 0.01


def test_the_difference_is_smooth_and_noise_is_not() -> None:
    clean = cat()
    space = LocalCurves.of(clean)
    made = space.decode(0.45 * random_signs(space.unperturbed))
    noisy = eight_bits(clean + 8 / 255 * random_signs(clean))
    before, smooth, noise = (to_uint8(2 * each[0] - 1) for each in (clean, made, noisy))
    found = compare(before, smooth)
    assert found.low_frequencies is not None and found.low_frequencies > 0.8
    assert found.ssim is not None and found.ssim > 0.8 and 1 < found.ciede2000 < 12
    assert low_frequencies(before, noise) == pytest.approx(np.pi / 64, abs=0.01)  # the share of a disc, of white noise
    assert compare(before, before).low_frequencies is None


def test_gradients_are_those_of_finite_differences() -> None:
    pictures = cat().double()
    space = LocalCurves.of(pictures)
    grid = 0.2 * random_signs(space.unperturbed).double()

    def score(at: Tensor) -> Tensor:  # rounding to 8 bits averages out over the pixels
        return space.decode(at).square().sum()

    start = grid.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(start), start)
    for part in (0, 1):  # light, warmth
        heading = torch.zeros_like(grid).index_fill(1, torch.tensor([part]), 0.02)
        measured = score(grid + heading) - score(grid - heading)
        assert float(2 * (gradient * heading).sum()) == pytest.approx(float(measured), rel=0.01)
    black = LocalCurves.of(torch.zeros(1, 3, 20, 20))
    start = black.unperturbed.requires_grad_()
    assert torch.autograd.grad(black.decode(start).sum(), start)[0].isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_stays_within_epsilon_and_the_colours_within_its_curves(channels: int) -> None:
    torch.manual_seed(1)
    pictures = cat()[..., :96, :128].mean(1, keepdim=True).expand(1, channels, -1, -1)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, 5)).eval()
    found = attack(net, pictures, method="semantic", epsilon=0.3).adversarial
    clean = pictures.clamp(min=DARKEST)
    most = np.exp(0.3 * (1 + WARMTH * (channels == 3)))
    assert (found >= clean**most - 0.5 / 255 - 1e-6).all() and (found <= clean ** (1 / most) + 0.5 / 255 + 1e-6).all()
    assert (found != pictures).any() and torch.equal((found * 255).round() / 255, found)


def test_it_raises_the_loss_more_than_random_light_does_and_the_batch_does_not_matter() -> None:
    pictures = torch.cat([cat()[..., top : top + 96, left : left + 128] for top in (0, 90) for left in (0, 90, 170)])
    net = network()
    labels = net(pictures).argmax(1)

    def loss(at: Tensor) -> float:
        return nn.functional.cross_entropy(net(at), labels).item()

    one, six = (attack(net, pictures, labels, method="semantic", batch=batch).adversarial for batch in (1, 6))
    assert (one != six).float().mean() < 0.01
    space = LocalCurves.of(pictures)
    randomly = space.decode(0.45 * random_signs(space.unperturbed))
    assert loss(one) - loss(pictures) > 3 * abs(loss(randomly) - loss(pictures))


@pytest.mark.parametrize("changed", [{"method": "semantic", "perturb": "pixels"}, {"perturb": "curves"}])
def test_curves_are_perturbed_by_this_method_alone(changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="tone curves by semantic"):
        Options(("photos",), **changed)


def test_the_command_writes_measures_and_reuses_it(
    photo: Path, colours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = np.asarray(Image.open(photo).convert("L"))
    Image.fromarray(np.stack([grey.clip(max=250) + 5, grey, grey], axis=-1)).save(photo)  # slightly red
    way = ["attack", str(photo), "--method", "semantic", "--classifier", colours]
    assert main(way) == 0
    (image,) = json.loads(photo.with_name("cat-attack-report.json").read_text())["images"]
    assert image["success_after_png"] and image["after"] != image["true"] and image["model"] is None
    before, after = (np.asarray(Image.open(path)) for path in (photo, image["output"]))
    means = after.mean((0, 1))
    assert means.argmax() == image["after"] and before.mean((0, 1)).argmax() == image["true"]
    assert image["low_frequencies"] == pytest.approx(low_frequencies(before, after)) and image["low_frequencies"] > 0.8
    assert image["ciede2000"] < 12
    capsys.readouterr()
    assert main(way) == 0
    assert "1 input done already" in capsys.readouterr().out

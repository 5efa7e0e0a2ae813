"""Ensembles, diverse inputs and perturbations by texture."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from fastdiff.apps.attack import attack
from fastdiff.apps.attack.options import Options
from fastdiff.apps.attack.textured_pixels import RADIUS, TexturedPixels, local_deviation, smooth
from fastdiff.apps.attack.transferring import SHRUNK, DiverseInputs, Ensemble
from fastdiff.models.classifier import ClassifierTarget, Preprocessing, numbered
from fastdiff.solvers.errors import UsageError


def cat() -> Tensor:
    return torch.from_numpy(data.chelsea()[:128, 100:228].copy()).movedim(-1, 0)[None] / 255


def linear(seed: int, *names: str) -> ClassifierTarget:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, len(names)))
    return ClassifierTarget(f"net {seed}", net, Preprocessing(None), names)


def test_smoothing_is_that_of_scipy() -> None:
    picture = cat().double()
    expected = gaussian_filter(picture.numpy(), RADIUS, axes=(2, 3), mode="nearest", truncate=3)
    torch.testing.assert_close(smooth(picture, RADIUS), torch.from_numpy(expected))


def test_an_ensemble_averages_the_logits_of_classes_of_the_same_name() -> None:
    first, second = linear(0, "a", "b", "c"), linear(1, "c", "a", "b", "d")
    pictures = torch.rand(2, 3, 8, 8)
    logits = Ensemble(first, [(second, (1, 2, 0))])(pictures)
    torch.testing.assert_close(logits, (first(pictures) + second(pictures)[:, [1, 2, 0]]) / 2)
    with pytest.raises(UsageError, match="net 1 has no class 'b' of net 0"):
        Ensemble(first, [(second, (1, None, 0))])


def test_diverse_inputs_are_shrunk_and_padded_alike_for_all_pictures_and_seeds_repeat() -> None:
    pictures = torch.rand(3, 3, 40, 60).clamp(min=0.2)
    whole = [DiverseInputs(lambda given: given, 0.7, seed=3) for _ in range(2)]
    draws = [[draw(part) for _ in range(20)] for draw, part in zip(whole, (pictures, pictures[1:2]), strict=True)]
    for all_rows, one_row in zip(*draws, strict=True):
        torch.testing.assert_close(all_rows[1:2], one_row)
    changed = [draw for draw in draws[0] if not torch.equal(draw, pictures)]
    assert 8 <= len(changed) < 20 and len({draw[0].numpy().tobytes() for draw in changed}) == len(changed)
    for draw in changed:
        rows, columns = (int((draw.amax((0, 1, axis)) > 0).sum()) for axis in (3, 2))
        assert SHRUNK * 40 - 1 <= rows <= 40 and SHRUNK * 60 - 1 <= columns <= 60


def test_perturbations_by_texture_hide_from_ssim() -> None:
    """At the same mean square, changes in proportion to the texture have the higher SSIM."""
    picture = cat()
    sign = torch.where(torch.rand(picture.shape, generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    space = TexturedPixels.of(picture)
    textured = space.decode(0.4 * sign)
    size = (textured - picture).square().mean().sqrt()
    flat = (picture + size * sign).clamp(0, 1)
    ssim = [structural_similarity(*(each[0].numpy() for each in (picture, made)), channel_axis=0, data_range=1)
            for made in (textured, flat)]  # fmt: skip
    assert ssim[0] > ssim[1] + 0.02
    assert torch.equal((textured * 255).round() / 255, textured)
    bound = 0.4 * local_deviation(picture) + 0.5 / 255
    assert ((textured - picture).abs() <= bound + 1e-6).all()
    assert torch.equal(space.decode(space.unperturbed), picture)
    even = local_deviation(torch.full((1, 3, 20, 20), 0.5))
    np.testing.assert_allclose(even, 0.022, rtol=1e-3)


def test_surrogates_are_attacked_together_with_the_classifier() -> None:
    pictures = 0.5 + 0.05 * torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    nets = [linear(seed, *numbered(3)).net for seed in (0, 1)]
    labels = nets[0](pictures).argmax(1)
    alone, together = (
        attack(nets[0], pictures, labels, method="transfer", surrogates=surrogates) for surrogates in ([], [nets[1]])
    )

    def margin(net: nn.Module, at: Tensor) -> Tensor:
        return nn.functional.cross_entropy(net(at), labels)

    assert margin(nets[0], alone.adversarial) > margin(nets[0], pictures)
    both = [sum(margin(net, found.adversarial) for net in nets) for found in (alone, together)]
    assert both[1] > both[0]


def test_results_do_not_depend_on_the_batch() -> None:
    pictures = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    net = linear(2, *numbered(4)).net
    one, five = (attack(net, pictures, method="transfer", batch=batch).adversarial for batch in (1, 5))
    assert (one != five).float().mean() < 0.01


def test_a_judged_classifier_is_no_surrogate() -> None:
    with pytest.raises(UsageError, match="neither the classifier itself nor one of --transfer"):
        Options(("photos",), surrogates=("efficientnet-lite1",), transfer=("efficientnet-lite1",))
    with pytest.raises(UsageError, match="textures by transfer"):
        Options(("photos",), method="transfer", perturb="pixels")

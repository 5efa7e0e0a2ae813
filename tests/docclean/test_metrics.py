import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.stats import norm

from benchmarks.docclean import metrics
from benchmarks.docclean.unsure import wrong_characters
from fastdiff.solvers.errors import UsageError

MEASURES = [metrics.f_measure, metrics.pseudo_f_measure_skeleton, metrics.drd]


def mask(shape, *ink):
    drawn = np.zeros(shape, bool)
    drawn[tuple(zip(*ink, strict=True))] = True
    return drawn


def test_drd_of_one_lost_pixel_is_the_ink_around_it():
    truth = mask((8, 8), (0, 5), (2, 0), (3, 1), (4, 2), (4, 3), (4, 4), (6, 6), (7, 1), (7, 7))
    result = truth.copy()
    result[4, 3] = False
    assert metrics.drd(truth, result) == pytest.approx(0.177073, abs=1e-6)


def test_drd_agrees_with_its_definition_pixel_by_pixel():
    rng = np.random.default_rng(0)
    truth, result = rng.random((2, 19, 27)) < 0.3
    distance = np.hypot(*np.mgrid[-2:3, -2:3])
    weights = np.where(distance > 0, 1 / np.maximum(distance, 1), 0)
    weights /= weights.sum()
    total = 0.0
    for row, column in zip(*np.nonzero(truth != result), strict=True):
        for i in range(max(row - 2, 0), min(row + 3, 19)):
            for j in range(max(column - 2, 0), min(column + 3, 27)):
                total += weights[i - row + 2, j - column + 2] * (truth[i, j] != result[row, column])
    blocks = [truth[i : i + 8, j : j + 8] for i in (0, 8) for j in (0, 8, 16)]
    mixed = sum(block.any() and not block.all() for block in blocks)
    assert metrics.drd(truth, result) == pytest.approx(total / mixed, rel=1e-12)


def test_f_and_psnr_of_a_checkerboard_with_two_errors():
    truth = np.indices((3, 3)).sum(0) % 2 == 0
    result = truth.copy()
    result[0, 2], result[2, 1] = False, True
    assert metrics.psnr(truth, result) == pytest.approx(6.532, abs=5e-4)
    assert metrics.f_measure(np.pad(truth, 1), np.pad(result, 1)) == pytest.approx(80.0)


def test_identical_pages_are_perfect():
    truth = mask((16, 16), (3, 4), (3, 5), (9, 9))
    assert metrics.f_measure(truth, truth) == metrics.pseudo_f_measure_skeleton(truth, truth) == 100
    assert metrics.drd(truth, truth) == metrics.rmse(truth, truth) == 0
    assert metrics.psnr(truth, truth) == metrics.PSNR_CEILING


def test_pages_without_ink_have_finite_f():
    blank, dot = np.zeros((8, 8), bool), mask((8, 8), (4, 4))
    assert metrics.f_measure(blank, blank) == 100
    assert metrics.f_measure(blank, dot) == metrics.f_measure(dot, blank) == 0
    assert metrics.drd(blank, blank) == 0 and metrics.drd(blank, dot) == np.inf


@pytest.mark.parametrize("measure", MEASURES)
def test_swapped_polarity_and_sizes_are_refused(measure):
    ink = mask((16, 16), (3, 4))
    with pytest.raises(UsageError, match="ink"):
        measure(~ink, ~ink)
    with pytest.raises(UsageError, match="size"):
        measure(ink, ink[:8])


def test_pseudo_f_forgives_thin_strokes_but_not_broken_ones():
    truth = np.zeros((40, 60), bool)
    truth[15:22, 5:55] = True
    thin, broken = np.zeros_like(truth), truth.copy()
    thin[18, 5:55] = True
    broken[:, 25:35] = False
    assert metrics.pseudo_f_measure_skeleton(truth, thin) > 97 > 30 > metrics.f_measure(truth, thin)
    assert metrics.pseudo_f_measure_skeleton(truth, broken) < 95


def test_psnr_of_a_bias_and_of_the_ink_alone():
    truth = np.ones((50, 50))
    truth[20:30, 20:22] = 0
    assert metrics.psnr(truth, truth - 0.1) == pytest.approx(20)
    stained = truth.copy()
    stained[:10] = 0.5
    assert metrics.ink_psnr(truth, stained) == metrics.PSNR_CEILING > metrics.psnr(truth, stained)
    assert metrics.ink_psnr(truth, np.maximum(truth, 0.1)) == pytest.approx(10 * np.log10(14 * 6 / (20 * 0.01)))


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
def test_sharpness_of_a_blurred_edge_is_its_closed_form(sigma):
    fine = np.repeat(np.arange(400) >= 200, 40).astype(float)  # 40 samples a pixel
    blurred = gaussian_filter1d(fine, 40 * sigma)[20::40]  # at pixel centres
    truth, result = (np.tile(row, (20, 1)) for row in (fine[20::40], blurred))
    assert metrics.edge_sharpness(truth, truth) == 1
    expected = norm.cdf(1.5 / sigma) + norm.cdf(0.5 / sigma) - 1
    assert metrics.edge_sharpness(truth, result) == pytest.approx(expected, rel=5e-3)


def test_sharpness_needs_an_edge():
    with pytest.raises(UsageError, match="edge"):
        metrics.edge_sharpness(np.ones((9, 9)), np.ones((9, 9)))


@pytest.mark.parametrize(
    ("truth", "read", "wrong"),
    [
        ("The quick brown fox", ["The", "quicl", "brwn", "fox"], [0, 1, 1, 0]),
        ("ab cd", ["abcd"], [1]),
        ("a b", ["a"], [2]),
        ("ab", [], []),
    ],
)
def test_wrong_characters_count_for_the_word_they_are_in_or_beside(truth, read, wrong):
    assert wrong_characters(truth, read) == wrong


def test_structural_similarity_is_that_of_the_means_on_even_pages() -> None:
    dark, light = np.full((176, 180), 0.5), np.full((176, 180), 0.8)
    means = (2 * 0.5 * 0.8 + 0.01**2) / (0.5**2 + 0.8**2 + 0.01**2)  # only the coarsest scale sees them
    assert metrics.ms_ssim(dark, light) == pytest.approx(means**0.1333, abs=5e-4)  # float32
    assert metrics.ms_ssim(dark, dark) == pytest.approx(1)

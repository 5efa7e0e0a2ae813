"""Blur kernels are found from imperfect restorations, and restored pages agree with the given ones."""

import cv2
import numpy as np
import pytest

from fastdiff.apps.docclean.restoration.blur_kernel import normal_equations
from fastdiff.apps.docclean.restoration.deconvolution import Deconvolution
from fastdiff.apps.docclean.restoration.nonblind import consistent, noise_variance, wiener
from fastdiff.training.docclean.degrade import defocus_kernel, motion_kernel

SIDE = 31
GLYPH_HEIGHT = 14.0


def typed(*lines: str, height: int = 300, width: int = 420) -> np.ndarray:
    """Return lines of text, float32 (H, W), white = 1."""
    page = np.full((height, width), 255, np.uint8)
    for row, line in enumerate(lines):
        cv2.putText(page, line, (20, 40 + 30 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 0, 2, cv2.LINE_AA)
    return page.astype(np.float32) / 255


def blurred(page: np.ndarray, kernel: np.ndarray, grain: float = 3 / 255) -> np.ndarray:
    """Convolve a page, add noise, and round to grey levels: float32 (H, W)."""
    soft = cv2.filter2D(page, -1, cv2.flip(kernel, -1), borderType=cv2.BORDER_REFLECT_101)
    noisy = soft + np.random.default_rng(1).normal(0, grain, page.shape)
    return (np.rint(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32)


def framed(kernel: np.ndarray, side: int = SIDE) -> np.ndarray:
    extra = side - len(kernel)
    return np.pad(kernel, (extra // 2, extra - extra // 2))


def distance(page: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((page - truth) ** 2)))


TEXT = ("Number 60 was paid on 08.06.1983", "Invoice 5836 of the Harbour Co.", "left 38,660.86 to be settled",
        "within the quarter, as agreed", "sheet 88 of 386, second copy")  # fmt: skip
WRONG = ("Number 80 was paid on 06.08.1963", "Invoice 5638 of the Harbaur Ca.", "left 36,880.66 to he settled",
         "within the guarter, as agreod", "sheet 68 of 368, socond copy")  # fmt: skip
KERNELS = {"defocus": defocus_kernel(4.0), "motion": motion_kernel(np.random.default_rng(3), 12.0)}


@pytest.mark.parametrize("kind", KERNELS)
def test_the_kernel_is_found_although_letters_of_the_restoration_are_wrong(kind: str) -> None:
    found = normal_equations(blurred(typed(*TEXT), KERNELS[kind]), typed(*WRONG), SIDE).solve()
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert np.abs(found - framed(KERNELS[kind])).sum() < 0.45  # 2 for kernels that share no pixel
    exact = normal_equations(blurred(typed(*TEXT), KERNELS[kind], grain=0), typed(*TEXT), SIDE).solve()
    assert np.abs(exact - framed(KERNELS[kind])).sum() < 0.2


@pytest.mark.parametrize("kind", KERNELS)
def test_letters_that_the_page_contradicts_do_not_stay(kind: str) -> None:
    truth, wrong = typed(*TEXT), typed(*WRONG)
    page = blurred(truth, KERNELS[kind])
    deconvolution = Deconvolution(page, wrong, GLYPH_HEIGHT)
    made = deconvolution.data_consistent(page, wrong)
    differs = cv2.dilate((np.abs(truth - wrong) > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert distance(made[differs], truth[differs]) < 0.7 * distance(made[differs], wrong[differs])
    sharpened = deconvolution.wiener((255 * page).astype(np.uint8)) / 255
    assert distance(sharpened[differs], truth[differs]) < 0.8 * distance(sharpened[differs], wrong[differs])


def test_a_restoration_that_is_right_gets_no_worse() -> None:
    truth = typed(*TEXT)
    page = blurred(truth, KERNELS["defocus"])
    made = Deconvolution(page, truth, GLYPH_HEIGHT).data_consistent(page, truth)
    assert distance(made, truth) < 0.25 * distance(page, truth)


def test_a_kernel_of_one_pixel_leaves_the_page() -> None:
    page, point = typed(*TEXT), framed(np.ones((1, 1)))
    assert np.abs(consistent(page, np.ones_like(page), point) - page).max() < 0.05
    assert np.abs(wiener(page, point) - page).max() < 0.2  # the filter smooths edges a little
    assert np.abs(wiener(page, point) - page).mean() < 0.005


def test_wiener_filters_are_linear() -> None:
    """Neither noise nor text decides what a stroke becomes: filtered sums are sums of filtered pages."""
    rng = np.random.default_rng(2)
    kernel = KERNELS["motion"]
    first, second = (0.5 + 0.02 * rng.standard_normal((60, 80), np.float32) for _ in range(2))
    apart = [wiener(each, kernel) for each in (first, second)]
    together = wiener((first + second) / 2, kernel)
    np.testing.assert_allclose(together, (apart[0] + apart[1]) / 2, atol=1e-4)


def test_each_half_of_a_page_has_its_own_blur() -> None:
    truth = np.tile(typed(*TEXT), (2, 4))
    left, right = blurred(truth, defocus_kernel(4.5)), blurred(truth, defocus_kernel(1.5))
    page = np.where(np.arange(truth.shape[1]) < truth.shape[1] // 2, left, right)
    made = Deconvolution(page, truth, GLYPH_HEIGHT).data_consistent(page, truth)
    for half in (np.s_[:, 40:640], np.s_[:, 1040:1640]):
        assert distance(made[half], truth[half]) < 0.6 * distance(page[half], truth[half])


def coarse_grain(shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Return noise without high frequencies, as JPEG and the grain of paper leave it."""
    coarse = cv2.GaussianBlur(np.random.default_rng(4).standard_normal(shape), (0, 0), 1.5)
    return coarse / coarse.std() * deviation


def test_noise_is_measured_on_empty_paper() -> None:
    grey = np.full((200, 200), 0.5, np.float32)
    empty = np.ones(grey.shape, bool)
    assert noise_variance(grey, empty) == 1  # the least that is assumed
    grainy = grey + np.random.default_rng(4).normal(0, 0.04, grey.shape).astype(np.float32)
    unclipped = noise_variance(grainy, empty)
    assert unclipped is not None
    assert unclipped == pytest.approx(2.9 * (0.04 * 255 / 3) ** 2, rel=0.15)
    white = np.clip(grainy + 0.5, 0, 1)
    assert noise_variance(white, empty) == pytest.approx(unclipped / 2.9, rel=0.2)
    coarse = (grey + coarse_grain(grey.shape, 0.04)).astype(np.float32)
    assert (noise_variance(coarse, empty) or 0) > 20
    half = np.where(np.arange(200) < 100, grey, grainy).astype(np.float32)
    assert noise_variance(half, np.broadcast_to(np.arange(200) < 90, half.shape)) == 1
    assert noise_variance(grainy, np.zeros(grey.shape, bool)) is None


def test_grain_of_the_paper_is_not_sharpened() -> None:
    truth = typed(*TEXT)
    grain = coarse_grain(truth.shape, 0.03)
    page = np.clip(blurred(truth, KERNELS["defocus"]) + grain, 0, 1).astype(np.float32)
    deconvolution = Deconvolution(page, truth, GLYPH_HEIGHT)
    sharpened = deconvolution.wiener(np.rint(255 * page).astype(np.uint8)) / 255
    paper = cv2.erode((truth == 1).astype(np.uint8), np.ones((SIDE, SIDE), np.uint8)) > 0
    unaware = wiener(page, deconvolution.kernel)
    assert sharpened[paper].std() < 1.5 * page[paper].std()
    assert unaware[paper].std() > 2 * page[paper].std()


@pytest.mark.parametrize("shape", [(1, 1), (7, 900), (40, 40, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_of_any_size_and_type_without_strokes_stay_as_they_are(shape: tuple[int, ...], dtype: type) -> None:
    white = np.iinfo(dtype).max
    pixels: np.ndarray = np.full(shape, white * 4 // 5, dtype)
    page = pixels.astype(np.float32) / white
    luma = page if page.ndim == 2 else page.mean(-1)
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    deconvolution = Deconvolution(grey, luma, 0.0)
    assert deconvolution.kernel.max() == 1
    made = deconvolution.data_consistent(pixels, page)
    assert made.dtype == np.float32
    assert np.abs(made - page).max() < 1e-3
    for levels in (deconvolution.data_consistent(pixels, pixels), deconvolution.wiener(pixels)):
        assert levels.dtype == dtype
        np.testing.assert_allclose(levels / white, page, atol=1 / 255)

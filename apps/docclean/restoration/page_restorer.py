"""Restores the pixels of a page: chooses task and networks, restores luma and adds colour, or restores RGB."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import torch

from fastdiff.apps.docclean.imaging import binarization, colour, page_analysis, paper, stroke_shapes
from fastdiff.apps.docclean.imaging.illumination import even_out
from fastdiff.apps.docclean.imaging.paper import Paper
from fastdiff.apps.docclean.imaging.paper_matching import match_paper
from fastdiff.apps.docclean.imaging.surroundings import near_strokes
from fastdiff.apps.docclean.ocr import page_verdict
from fastdiff.apps.docclean.ocr.engines import Reading
from fastdiff.apps.docclean.options import CALLS, DEBLUR_CALLS, SOLVER, TASKS
from fastdiff.apps.docclean.restoration.deconvolution import Deconvolution
from fastdiff.apps.docclean.restoration.tiled_restorer import TiledRestorer
from fastdiff.apps.precision import NotFiniteError, dtype_name, precisions
from fastdiff.models.restorers import Pair, bundled, read_pair
from fastdiff.solvers.errors import MissingError, UsageError
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.solver_file import read_solver_file
from fastdiff.solvers.validation import check_name

FEATHER = 1.0  # pixels: standard deviation of the Gaussian over which deblurred strokes fade into the paper
STRIP, FADE = 1024, 64  # rows of a large page that are restored at a time, and over which strips fade


@dataclass(frozen=True)
class DeconvolvedPage:
    """Two pages for comparison: `sharpened` is the evened-out page after linear filters alone, `reblurred` the restored
    page as blurred as the given one.
    """

    sharpened: np.ndarray
    reblurred: np.ndarray

    @classmethod
    def of(cls, deconvolution: Deconvolution, evened: np.ndarray, restored: np.ndarray) -> Self:
        """Make both; the pages are uint8 or uint16 of one shape, (H, W) or (H, W, 3)."""
        return cls(deconvolution.wiener(evened), deconvolution.reblurred(restored))


@dataclass(frozen=True)
class RestoredPage:
    """A restored page: its pixels (for "binarize" bool, True for paper), and the choices that led to them.

    `evened` is the page on evenly lit paper; for the tasks "none" and "binarize" it is the given page.
    """

    pixels: np.ndarray
    task: str  # "none" if auto found the page clean: its pixels are the given ones
    task_reason: str
    calls: int  # network evaluations of the denoiser
    evened: np.ndarray
    blur: page_analysis.PageAnalysis | None = None  # analysis of the given page, if it was deblurred or is blurred
    deconvolved: DeconvolvedPage | None = None  # of a deblurred page

    @property
    def given(self) -> np.ndarray:
        """The given page as content goes back from it: evenly lit and, if it was deblurred, linearly sharpened."""
        return self.evened if self.deconvolved is None else self.deconvolved.sharpened

    @property
    def edge_width(self) -> float:
        """The width of the edges of a blurred page in pixels; 0 for a sharp page."""
        return 0.0 if self.blur is None else self.blur.edge_width


class PageRestorer:
    """Restores pages, and loads the networks of a task when a page first needs them.

    Networks of three channels restore the colours of a page themselves. Networks of one channel, and binarization,
    restore its luma.

    Raises UsageError for an unknown task, solver, dtype or negative number of calls, MissingError for an absent device
    or for calls to a denoiser that the weights do not hold.
    """

    def __init__(
        self,
        *,
        task: str = "auto",
        device: str = "auto",
        dtype: str = "auto",
        solver: str | None = None,
        calls: int | None = None,
        seed: int = 0,
        weights: Path | None = None,
        solver_file: Path | None = None,
    ) -> None:
        check_name("task", task, TASKS)
        check_name("solver", solver or SOLVER, SOLVERS)
        if calls is not None and calls < 0:
            raise UsageError(f"{calls} calls of the denoiser: give 0 or more")
        self._task, self._weights, self._seed = task, weights, seed
        self._file = None if solver_file is None else read_solver_file(solver_file)
        self._solver = SOLVERS[solver or SOLVER]
        self._calls = min(self._file.configs) if calls is None and self._file is not None else calls
        self._device, (self._dtype, *self._wider) = precisions(device, dtype)
        self._restorer, self._colours = cache(self._load), cache(self._load_colours)

    def __call__(self, pixels: np.ndarray, key: int, reading: Reading | None = None) -> RestoredPage:
        """Restore a page: uint8 or uint16, grey (H, W) or RGB (H, W, 3). `key` names its noise, `reading` is its text.

        Raises NotFiniteError if the networks overflow in the given precision, or in all that "auto" tries.
        """
        page = cv2.convertScaleAbs(colour.luma(pixels), alpha=255)
        task, reason, blur = self._choose(page, reading)
        if task == "none":
            return RestoredPage(pixels, task, reason, 0, pixels)
        evened = pixels if task == "binarize" else even_out(pixels)
        restorer = self._restorer("colour" if task == "clean" and colour.is_coloured(pixels) else task)
        in_colour = pixels.ndim == 3 and restorer.pair.channels == 3 and task != "binarize"
        if task == "deblur":
            assert blur is not None
            shown, note = self._in_strips(restorer, pixels if in_colour else colour.grey(pixels), key)
            clean, deconvolved = self._deblurred(pixels, evened, shown, blur, key)
            return RestoredPage(clean, task, reason + note, restorer.nfe, evened, blur, deconvolved)
        if in_colour:
            clean, note = self._in_strips(restorer, evened, key)
        else:
            restored, note = self._restored(restorer, colour.luma(pixels), key)
            if task == "binarize":
                clean = binarization.paper_mask(restored, page)
                return RestoredPage(clean, task, reason + note, restorer.nfe, evened)
            clean = colour.repaint(pixels, restored) if pixels.ndim == 3 else colour.quantize(restored, pixels.dtype)
            del restored  # four times the size of a page of uint8
        clean = stroke_shapes.keep_shapes(evened, clean)
        return RestoredPage(clean, task, reason + note, restorer.nfe, evened, blur)

    def _deblurred(
        self, pixels: np.ndarray, evened: np.ndarray, shown: np.ndarray, blur: page_analysis.PageAnalysis, key: int
    ) -> tuple[np.ndarray, DeconvolvedPage]:
        """Return a page made of a restored one, of its type (H, W) or (H, W, 3), and of the given pixels."""
        clean, deconvolution = _deconvolved(evened, shown, blur)
        if clean.ndim < pixels.ndim:
            clean = colour.repaint(deconvolution.wiener(pixels), clean)
            if colour.is_coloured(pixels):
                clean = stroke_shapes.with_ground(clean, self._in_strips(self._colours(), evened, key)[0])
        return clean, DeconvolvedPage.of(deconvolution, evened, clean)

    def _in_strips(self, restorer: TiledRestorer, pixels: np.ndarray, key: int) -> tuple[np.ndarray, str]:
        """Return a page, uint8 or uint16, (H, W) or (H, W, 3), restored with little memory, and the note.

        Strips of STRIP rows fade into each other. The first has the noise of `key`, each of the others its own.
        """
        found = paper.measure_paper(pixels) if restorer.pair.channels == 3 else None
        out, notes = np.empty_like(pixels), []
        share = np.linspace(0, 1, FADE + 2, dtype=np.float32)[1:-1].reshape(-1, *[1] * (pixels.ndim - 1))
        for top in range(0, len(pixels), STRIP):
            rows = slice(max(top - FADE, 0), top + STRIP)
            noise = int(np.random.SeedSequence([key, top]).generate_state(1)[0]) if top else key
            strip, note = self._restored(restorer, colour.normalize(pixels[rows]), noise, found)
            notes.append(note)
            above = strip[: top - rows.start]
            above += (1 - share[: len(above)]) * (colour.normalize(out[rows.start : top]) - above)
            out[rows] = colour.quantize(strip, out.dtype)
        return out, max(notes, key=len)

    def _restored(
        self, restorer: TiledRestorer, page: np.ndarray, key: int, found: Paper | None = None
    ) -> tuple[np.ndarray, str]:
        """Return the restored page in the first precision in which its numbers stay finite, and the note about it."""
        for wider in self._wider:
            try:
                return _restore(restorer, page, key, found), _overflow(self._dtype, restorer.dtype)
            except NotFiniteError:
                restorer = replace(restorer, dtype=wider)
        return _restore(restorer, page, key, found), _overflow(self._dtype, restorer.dtype)

    def _choose(self, page: np.ndarray, reading: Reading | None) -> tuple[str, str, page_analysis.PageAnalysis | None]:
        """Return the task, the reason, and the analysis if the page is deblurred or too blurred for `clean` alone."""
        if self._task not in ("auto", "deblur"):
            return self._task, "as asked", None
        found = page_analysis.analyze(page)
        if self._task == "deblur":
            return self._task, "as asked", found
        if found.task != "deblur":
            return found.task, found.reason, None
        if reading is None:
            reason = f"{found.reason}; not deblurred: without OCR nothing checks the characters"
            return found.task_if_sharp, reason, found
        if page_verdict.is_well_read(reading):
            return found.task_if_sharp, f"{found.reason}; not deblurred: it can be read as it is", found
        return found.task, found.reason, found

    def _load(self, network: str) -> TiledRestorer:
        path = self._weights or bundled(network)
        pair = read_pair(path)
        if self._calls and pair.denoiser is None:
            raise MissingError(f"{path} holds no denoiser: give --calls 0, or --weights with a denoiser")
        calls = _default_calls(network, pair) if self._calls is None else self._calls
        return TiledRestorer(pair, self._solver, calls, self._seed, self._device, self._dtype, self._file)

    def _load_colours(self) -> TiledRestorer:
        """Return the bundled network that keeps the fills behind the strokes of deblurred pages."""
        pair = read_pair(bundled("colour"))
        return TiledRestorer(pair, self._solver, 0, self._seed, self._device, self._dtype, None)


def _default_calls(network: str, pair: Pair) -> int:
    return DEBLUR_CALLS if network == "deblur" and pair.denoiser is not None else CALLS


def _overflow(first: torch.dtype, last: torch.dtype) -> str:
    return "" if first == last else f"; computed in {dtype_name(last)}: {dtype_name(first)} overflows on it"


def _restore(restorer: TiledRestorer, page: np.ndarray, key: int, found: Paper | None = None) -> np.ndarray:
    """Return the restored page: float32 (H, W) or, by networks of three channels, (H, W, 3) in [0, 1], as given.

    Networks of three channels are trained on white paper: the page is divided by its paper for them, and coloured paper
    keeps its colour. The paper is measured unless it is `found` already.
    """
    if restorer.pair.channels != 3:
        return restorer(torch.from_numpy(page), key).numpy()
    found = found or paper.measure_paper(page)
    colour = found.colour if page.ndim == 3 else found.colour[0]
    restored = restorer(torch.from_numpy(page / colour), key).numpy()
    return np.multiply(restored, colour, out=restored) if found.tinted else restored


def _deconvolved(
    evened: np.ndarray, shown: np.ndarray, blur: page_analysis.PageAnalysis
) -> tuple[np.ndarray, Deconvolution]:
    """Return the page that a network shows with strokes consistent with the evened-out one; both uint8 or uint16, the
    result of the shape of the former, (H, W) or (H, W, 3).

    The paper between the strokes stays restored: dirt is in the given page, too.
    """
    given = match_paper(evened if evened.ndim == shown.ndim else colour.grey(evened), shown)
    deconvolution = Deconvolution(colour.grey(given), colour.grey(shown), blur.glyph_height)
    consistent = deconvolution.data_consistent(given, shown)
    near, margin = near_strokes(shown), round(4 * FEATHER)
    for top in range(0, len(near), STRIP):
        first, rows = max(top - margin, 0), slice(top, top + STRIP)
        share = cv2.GaussianBlur(near[first : rows.stop + margin].astype(np.float32), (0, 0), FEATHER)
        share = share[top - first :][: len(near[rows])]
        share = share if shown.ndim == 2 else share[..., None]
        consistent[rows] = np.rint(consistent[rows] * share + shown[rows] * (1 - share))
    return consistent, deconvolution

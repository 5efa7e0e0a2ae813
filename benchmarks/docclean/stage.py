"""The diffusion stage: the gain of the denoiser over the predictor, by solver and number of calls."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.docclean import blurred, metrics, pages
from benchmarks.docclean.application import Setup, cached_engine
from benchmarks.docclean.blur import hard_enough
from benchmarks.docclean.blurred import Blurred
from benchmarks.docclean.dibco import YEARS
from benchmarks.result import Cell, Section, Table, mean
from fastdiff.apps.docclean.imaging import page_analysis
from fastdiff.apps.docclean.imaging.binarization import paper_mask
from fastdiff.apps.docclean.restoration.deconvolution import Deconvolution
from fastdiff.apps.docclean.restoration.tiled_restorer import TiledRestorer
from fastdiff.models.fingerprint import of_network
from fastdiff.models.nafdpm import ResidualDenoiser
from fastdiff.models.residual import residual_schedule
from fastdiff.models.restorers import Pair, bundled, read_pair
from fastdiff.solvers.errors import MissingError
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.solver_file import SolverFile

PAGES = 6  # of each task: a setting of 20 calls is slow
CALLS = (1, 3, 5, 10)
COMPARED = ("ddim", "dpmpp-2m", "unipc")
ENGINE = "rapidocr"
NOTE = f"CER of {ENGINE}: of the restored page, after an unsharp mask, and deconvolved as docclean does it"

Score = Callable[[np.ndarray], dict[str, float]]


@dataclass(frozen=True)
class Setting:
    """One setting for sampling the residual."""

    name: str
    solver: str
    calls: int
    times_ten: bool = False  # the published sampler's time scale: 0..990 for networks trained on 0..99
    file: SolverFile | None = None  # replaces the solver


SETTINGS = (
    Setting("predictor alone", "ddim", 0),
    Setting("official: 20 first-order, times x10", "ddim", 20, times_ten=True),
    Setting("official with the right times", "ddim", 20),
    *(Setting(f"{solver}, {calls}", solver, calls) for solver in COMPARED for calls in CALLS),
)


def sharpened(restored: np.ndarray) -> np.ndarray:
    """Return a restored page, float32 (H, W) in [0, 1], after an unsharp mask."""
    soft = cv2.GaussianBlur(restored, (0, 0), 1.0)
    return np.clip(cv2.addWeighted(restored, 1.5, soft, -0.5, 0), 0, 1)


def deconvolved(page: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Return a restored page made consistent with the given one, uint8 (H, W); the former is float32 in [0, 1]."""
    height = page_analysis.analyze(page).glyph_height
    return Deconvolution(page, restored, height).data_consistent(page, restored)


def tuned(pair: Pair, file: SolverFile | None) -> list[Setting]:
    """Return the settings of a solver file that was tuned to the denoiser of a pair; none for other files."""
    if file is None or pair.denoiser is None:
        return []
    if file.fingerprint != of_network(pair.denoiser, residual_schedule(), "x0"):
        return []
    return [Setting(f"{config.solver}, {calls}", "ddim", calls, file=file) for calls, config in file.configs.items()]


def times_ten(denoiser: ResidualDenoiser) -> ResidualDenoiser:
    """Return a denoiser that gets ten times the training timestep."""
    wrong = deepcopy(denoiser)
    wrong.register_forward_pre_hook(lambda module, given: (given[0], 10 * given[1], given[2]))
    return wrong


def run(setup: Setup) -> Section:
    """Compare all settings on each task. Raises MissingError if the weights hold no denoiser."""
    tables, rows = [], []
    for task, make in (("deblur", _deblur), ("binarize", _binarize), ("clean", _clean)):
        mine = [row for key, case in enumerate(make(setup)) for row in _measured(setup, task, *case, key)]
        tables.append(_table(task, mine))
        rows += mine
    return Section(tables, rows)


def restorer(pair: Pair, setting: Setting) -> TiledRestorer:
    if setting.times_ten and pair.denoiser is not None:
        pair = replace(pair, denoiser=times_ten(pair.denoiser))
    return TiledRestorer(pair, SOLVERS[setting.solver], setting.calls, file=setting.file)


def _measured(setup: Setup, task: str, grey: np.ndarray, score: Score, key: int) -> list[dict[str, Any]]:
    path = setup.weights or bundled(task)
    pair = read_pair(path)
    if pair.denoiser is None:
        raise MissingError(f"{path} holds no denoiser: the section 'stage' compares its solvers")
    page, rows = torch.from_numpy(grey.astype(np.float32) / 255), []
    for setting in (*SETTINGS, *tuned(pair, setup.solver_file)):
        began = time.perf_counter()
        restored = restorer(pair, setting)(page, key).numpy()
        seconds = time.perf_counter() - began
        row = {"task": task, "page": key, "setting": setting.name, "calls": setting.calls}
        rows.append(row | score(restored) | {"seconds": seconds})
    return rows


def _deblur(setup: Setup) -> list[tuple[np.ndarray, Score]]:
    columns = [page for page in blurred.make(setup) if page.sharp.column and hard_enough(page, ENGINE)]

    def score(page: Blurred) -> Score:
        def errors(restored: np.ndarray) -> dict[str, float]:
            versions = {
                "CER": restored,
                "unsharp": sharpened(restored),
                "deconvolved": deconvolved(page.pixels, restored),
            }
            engine = cached_engine(ENGINE)
            return {name: page.sharp.error(engine.read(_eight_bit(each)).text) for name, each in versions.items()}

        return errors

    return [(page.pixels, score(page)) for page in pages.some(columns, setup.count(PAGES))]


def _binarize(setup: Setup) -> list[tuple[np.ndarray, Score]]:
    """Return the smallest pages of every year."""
    pairs = []
    for year in YEARS:
        by_size = sorted(pages.dibco(setup.data, year, None), key=lambda pair: pair.truth.size)
        pairs += by_size[: setup.count(PAGES // len(YEARS))]

    def score(ink: np.ndarray, page: np.ndarray) -> Score:
        def distances(restored: np.ndarray) -> dict[str, float]:
            found = ~paper_mask(restored, page)
            return {"F": metrics.f_measure(ink, found), "DRD": metrics.drd(ink, found)}

        return distances

    return [(page := pages.grey(pair.pixels), score(pair.truth, page)) for pair in pairs]


def _clean(setup: Setup) -> list[tuple[np.ndarray, Score]]:
    def score(truth: np.ndarray) -> Score:
        return lambda restored: {
            "RMSE": metrics.rmse(truth, restored),
            "edge sharpness": metrics.edge_sharpness(truth, restored),
            "MS-SSIM": metrics.ms_ssim(truth, restored),
        }

    pairs = pages.noisyoffice(setup.data, setup.count(PAGES))
    return [(pages.grey(pair.pixels), score(pair.truth / 255)) for pair in pairs]


def _eight_bit(restored: np.ndarray) -> np.ndarray:
    return np.round(255 * restored).astype(np.uint8)


def _table(task: str, rows: list[dict[str, Any]]) -> Table:
    about = ("task", "page", "setting", "calls")
    measures = [name for name in (rows[0] if rows else ()) if name not in about]
    lines: list[tuple[Cell, ...]] = []
    for name, calls in dict.fromkeys((row["setting"], row["calls"]) for row in rows):
        mine = [row for row in rows if row["setting"] == name]
        lines.append((name, calls, *(mean(mine, measure) for measure in measures)))
    count = len({row["page"] for row in rows})
    return Table(
        f"The diffusion stage, --task {task}: means over {count} pages",
        ("setting", "calls", *measures),
        lines,
        NOTE if task == "deblur" else "",
    )

"""Time, memory and processor use on whole pages."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.docclean.application import Setup
from benchmarks.result import Cell, Section, Table
from fastdiff.apps.docclean.ocr import engines
from fastdiff.apps.docclean.ocr.scoring import Scorer
from fastdiff.apps.docclean.restoration.tiled_restorer import TiledRestorer
from fastdiff.models.nafdpm import Predictor, ResidualDenoiser, Size
from fastdiff.models.restorers import Pair
from fastdiff.solvers.registry import SOLVERS
from fastdiff.training.docclean.column import held_out_faces, render_column

A4_150 = (1754, 1240)  # pixels: height, width at 150 dpi
A3_600 = (9921, 7016)
PART = 512  # side of the piece on which the full network is timed
OFFICIAL_CALLS = 20
MATRIX = 3072
SOFT = 12.4  # pixels of A3 at 600 dpi: standard deviation of a blur that --task auto deblurs

# The high-water mark of this process's own memory: ru_maxrss would start with that of the process that launched it.
CLEAN_ONE = """
import sys
from pathlib import Path
from fastdiff.apps.docclean.app import run
from fastdiff.apps.docclean.options import Options
page, out, weights = sys.argv[1:]
run(Options((page,), out=Path(out), weights=Path(weights) if weights else None))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def run(setup: Setup) -> Section:
    a4 = sheet(A4_150)
    tables = [_times(setup, a4), _use(setup, a4), _ratio(setup, a4), _memory(setup, a4)]
    return Section(tables)


def sheet(shape: tuple[int, int]) -> np.ndarray:
    """Return a scan of a page of text in eleven points, with grey paper and sensor noise: grey uint8 of this shape."""
    height, width = shape
    page = render_column(np.random.default_rng(0), held_out_faces()[0][1], height / 146, count=42, width=72).pixels
    top, left = (height - page.shape[0]) // 2, (width - page.shape[1]) // 2
    bottom, right = height - page.shape[0] - top, width - page.shape[1] - left
    drawn = cv2.copyMakeBorder(page, top, bottom, left, right, cv2.BORDER_CONSTANT, value=255)
    noise = np.random.default_rng(1).normal(0, 3, shape)
    return np.clip(np.rint(30 + drawn * 0.8 + noise), 0, 255).astype(np.uint8)


def _times(setup: Setup, a4: np.ndarray) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for calls, allowed in ((0, 8.0), (1, 8.0), (5, 20.0)):
        restore = setup.page_restorer("auto", calls)
        restore(a4[:PART, :PART], 0)
        rows.append((f"{calls} denoiser calls", _seconds(restore, a4, 0), allowed))
    restore, scorer = setup.page_restorer("auto"), Scorer(engines.load_engine("easyocr"))
    restore(a4[:PART, :PART], 0)
    whole = _seconds(lambda: scorer.compare(a4, restore(a4, 0).pixels, "", 0))
    rows.append(("default, with scoring", whole, None))
    note = f"networks loaded before; {torch.get_num_threads()} threads of {torch.backends.cpu.get_cpu_capability()}"
    return Table("Speed: an A4 page at 150 dpi", ("setting", "seconds", "at most"), rows, note)


def _use(setup: Setup, a4: np.ndarray) -> Table:
    restore = setup.page_restorer("clean", 0)
    with FlopCounterMode(display=False) as counter:
        restore(a4, 0)
    network = counter.get_total_flops() / _seconds(restore, a4, 0)
    rows: list[tuple[Cell, ...]] = [("predictor, whole page", network / 1e9, None)]
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.rand(MATRIX, MATRIX).to(dtype)
        best = 2 * MATRIX**3 / min(_seconds(torch.mm, square, square) for _ in range(3))
        rows.append((f"matrix product, {str(dtype).removeprefix('torch.')}", best / 1e9, network / best))
    return Table("Use of the processor", ("work", "GFLOP/s", "share reached"), rows)


def _ratio(setup: Setup, a4: np.ndarray) -> Table:
    """Compare the bundled networks with the published size and calls (random weights) on a piece of the page."""
    piece = a4[400 : 400 + PART, 400 : 400 + PART]
    ours = setup.page_restorer("auto")
    ours(piece, 0)
    full = Pair(Predictor(Size()).eval(), ResidualDenoiser(Size()).eval(), channels=1)
    official = TiledRestorer(full, SOLVERS["ddim"], OFFICIAL_CALLS)
    page = torch.from_numpy(piece.astype(np.float32) / 255)
    seconds = _seconds(ours, piece, 0), _seconds(official, page, 0)
    rows = [("ours, default", seconds[0], 1.0), ("9.4 M, 20 calls", seconds[1], seconds[1] / seconds[0])]
    return Table(f"Against the full network, {PART} x {PART} pixels", ("network", "seconds", "times ours"), rows)


def _memory(setup: Setup, a4: np.ndarray) -> Table:
    """Measure the peak memory of `fastdiff docclean` with default scoring on two large pages, one of them blurred."""
    height, width = A3_600
    a3 = cv2.resize(a4, (width, height), interpolation=cv2.INTER_CUBIC)
    pages = {"A3 at 600 dpi": a3, "the same, blurred": cv2.GaussianBlur(a3, (0, 0), SOFT)}
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "a3.png")
        for name, pixels in pages.items():
            cv2.imwrite(str(page), pixels)
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", CLEAN_ONE, page, Path(folder, name), setup.weights or ""],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            rows.append((name, int(done.stdout.split()[-1]) / 2**20, 2.0, time.perf_counter() - began))
    return Table("Memory of the whole process, default scoring", ("page", "peak GiB", "at most", "seconds"), rows)


def _seconds(work: Callable[..., object], *given: object) -> float:
    began = time.perf_counter()
    work(*given)
    return time.perf_counter() - began

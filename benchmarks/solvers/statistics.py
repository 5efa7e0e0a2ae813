"""Costs of the statistics of DPM-Solver-v3 on the bundled model: seconds, and memory beyond that of the model."""

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.result import Section, Table
from benchmarks.solvers.networks import GUIDANCES
from fastdiff.apps.tuning.fits import FITS, NODES, Extent
from fastdiff.models.sampling_problem import load_sampling_problem

SAMPLES = 8
ROWS = 4


def run(calls: Sequence[int], limit: int | None) -> Section:
    """Measure in a process of its own: a process never lowers its high-water mark of memory."""
    samples = SAMPLES if limit is None else min(limit, SAMPLES)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        seconds, increase = pool.apply(measured, (samples,))
    title = f"Statistics of DPM-Solver-v3 at {NODES + 1} nodes: scenes, guidance {GUIDANCES[-1]:g}, {samples} samples"
    return Section([Table(title, ("", "seconds", "GiB more"), [("once a model", seconds, increase)])])


def measured(samples: int) -> tuple[float, float]:
    """Return seconds, and peak resident GiB beyond those of the model after one evaluation."""
    batches = list(load_sampling_problem("scenes", guidance=GUIDANCES[-1]).batches(samples, rows=ROWS))
    f, x = batches[0]
    with torch.no_grad():
        f(x, f.schedule.level(f.schedule.start))
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before, began = resident("VmRSS"), time.perf_counter()
    FITS["v3"].once(batches, (), Extent())
    return time.perf_counter() - began, resident("VmHWM") - before


def resident(line: str) -> float:
    """Return a line of the kernel's memory status, in GiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) / 2**20

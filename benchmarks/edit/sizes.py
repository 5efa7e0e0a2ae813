"""Time and memory of an edit by the side of the picture, with and without merging."""

import multiprocessing
import resource
import time
from dataclasses import replace
from typing import Any

import torch

from benchmarks.edit.edits import DEFAULT
from benchmarks.result import Section, Table
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.edit.sampling import Edit
from fastdiff.models.registry import load_editable

SIDES = (128, 256, 512, 1024)
MERGES = (0.0, 0.5)
STEPS = 4  # of the preset's; time is given for one


def run(model: str, limit: int | None) -> Section:
    """Every size in a process of its own: what a process took at most, it never gives back."""
    rows: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for side in SIDES[:limit]:
            for merge in MERGES:
                seconds, memory = pool.apply(measured, (model, side, merge))
                rows.append({"side": side, "merge": merge, "seconds": seconds, "GiB": memory})
    lines = [(f"{row['side']} px", row["merge"], row["seconds"], row["GiB"]) for row in rows]
    title = f"Inversion and edit by {DEFAULT}: seconds a step, and the most memory of the process"
    return Section([Table(title, ("side", "merged", "seconds", "GiB"), lines)], rows)


def measured(model: str, side: int, merge: float) -> tuple[float, float]:
    """Seconds of a step, and GiB resident at most."""
    backbone = load_editable(model)
    preset = replace(PRESETS[DEFAULT], steps=STEPS, merge=merge)
    with torch.inference_mode():
        latents = backbone.encode(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1)
        shown, wished = (backbone.encode_prompts([f"{text} on a teal background"]) for text in ("fox", "cat face"))
        edit = Edit(backbone, preset, latents, (side, side), shown, wished, seed=0)
        began = time.perf_counter()
        edit.sample(edit.invert(), lambda now: None)
    return (time.perf_counter() - began) / STEPS, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

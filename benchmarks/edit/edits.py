"""Methods of editing on one backbone: shape, quality against the exact answer, and seconds; controls beside them."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from benchmarks.edit.cases import EDITS, KINDS, Case, against_truth, as_picture, cases, judge, psnr, swaps
from benchmarks.edit.shape import ShapeMeasure
from benchmarks.edit.shape_controls import CONTROLS, Control, blurred
from benchmarks.result import Section, Strip, Table, means
from fastdiff.apps.edit.defaults import default_preset
from fastdiff.apps.edit.distilled import bundled_loras, bundled_speedup
from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.edit.editor import Editor
from fastdiff.apps.edit.presets import PRESETS, Preset
from fastdiff.apps.edit.settings import EditSettings
from fastdiff.inversion.registry import FLOW_ONLY
from fastdiff.models.diffusion_model import EditableModel
from fastdiff.models.guided_denoiser import guided_denoiser
from fastdiff.models.registry import load_editable
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.dpm_solver import dpmpp_2m
from fastdiff.solvers.grids import grid, time_uniform
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.noise import Noise
from fastdiff.training.edit.dataset import as_tensor
from fastdiff.training.edit.render import Renderer

PLAIN = Preset("ddim", steps=50, guidance=4.5, pinned=False)  # DDIM inversion, and nothing that ties the edit to it
OFFICIAL = replace(PRESETS["edit-friendly"], steps=100, guidance=15, source_guidance=3.5, strength=0.64, contrast=False)
SDEDIT = (0.6, 20)  # noised up to this part of the schedule, and so many steps back
MERGED = 0.2
FOCUS = 0.5  # the authors' 0.9 leaves a tenth of a picture: emoji take more of a scene

DEFAULT = default_preset("scenes")
COMPARED = 8  # word swaps that are done in every way: all edits in all ways would take a day
DONE_ALL = (*CONTROLS, "copy the input", "codec's ceiling", DEFAULT, f"{DEFAULT}, residual off")

Way = Callable[[Case], Tensor]


def run(model: str, limit: int | None) -> Section:
    found, measured = judge(), shape_scores(ShapeMeasure(Renderer()))
    rows: list[dict[str, Any]] = []
    strips = []
    every, compared = list(cases(EDITS if limit is None else min(EDITS, limit))), swaps(COMPARED)
    for name, way in ways(model).items():
        for number, case in enumerate(every if name in DONE_ALL else compared):
            edited, seconds = timed(way, case)
            right = found.read(edited)[0].concept == case.target.concept
            row: dict[str, Any] = {"way": name, "kind": case.kind, "case": number, "found": right, "seconds": seconds}
            row |= measured(edited, case) | {"whole": psnr(edited, case.truth)} | against_truth(edited, case)
            rows.append(row)
            if name == DEFAULT:
                sides = [as_picture(each) for each in (case.before, edited, case.truth)]
                strips.append(Strip(f"{case.source.caption} > {case.target.caption}", row["shape"], tuple(sides)))
    words = [row for row in rows if row["kind"] == "word"]
    firsts = [row for _, some in groupby(words, itemgetter("way")) for row in list(some)[:COMPARED]]
    everywhere = [row for row in rows if row["way"] in DONE_ALL]
    return Section([*(_table(everywhere, kind) for kind in KINDS), _table(firsts, "word")], rows, strips)


def shape_scores(measure: ShapeMeasure) -> Callable[[Tensor, Case], dict[str, float]]:
    """How well an edited picture shows the emoji of the target: dB, edges, and comparisons in {0, 1}."""

    def scores(edited: Tensor, case: Case) -> dict[str, float]:
        picture, bar = as_picture(edited), measure(blurred(measure.renderer, case.target), case.target.concept)
        new, old = measure(picture, case.target.concept), measure(picture, case.source.concept)
        nearer, sharper = float(new.psnr >= old.psnr), float(new.psnr > bar.psnr)
        return {"shape": new.psnr, "edges": new.edges, "nearer new": nearer, "above blur": sharper}

    return scores


def timed(way: Way, case: Case) -> tuple[Tensor, float]:
    """The edited picture, and the seconds that it took."""
    began = time.perf_counter()
    with torch.inference_mode():
        return way(case), time.perf_counter() - began


def ways(model: str) -> dict[str, Way]:
    backbone = load_editable(model)
    return {
        **{name: _shown(control, Renderer()) for name, control in CONTROLS.items()},
        "copy the input": lambda case: case.before,
        "codec's ceiling": lambda case: backbone.decode(backbone.encode(case.truth)).clamp(-1, 1),
        "SDEdit": lambda case: sdedit(backbone, case),
        "DDIM-50, plain": editing(model, PLAIN),
        "DDIM-50 with our attention control": editing(model, replace(PRESETS["direct-p2p"], pinned=False)),
        "edit-friendly DDPM, official 100 steps": editing(model, OFFICIAL),
        **{name: editing(model, preset) for name, preset in PRESETS.items() if preset.inversion not in FLOW_ONLY},
        f"{DEFAULT}, merging": editing(model, replace(PRESETS[DEFAULT], merge=MERGED)),
        "dit4edit, not merging": editing(model, replace(PRESETS["dit4edit"], merge=0.0)),
        f"{DEFAULT}, focus of LEDITS++": editing(model, replace(PRESETS[DEFAULT], focus=FOCUS)),
        f"{DEFAULT}, residual off": editing(model, PRESETS[DEFAULT], residual=False),
        f"{DEFAULT}, one attempt": editing(model, replace(PRESETS[DEFAULT], attempts=1)),
    }


def editing(model: str, preset: Preset, seed: int = 0, *, residual: bool = True, preview: bool = False) -> Way:
    """The application with a way to edit that need not be one of its presets."""
    editor = editor_of(model, preset, residual=residual, preview=preview)
    return lambda case: editor(case.before, request_of(case), seed, None, lambda share: None).colour[None]


def editor_of(model: str, preset: Preset, *, residual: bool = True, preview: bool = False) -> Editor:
    """Also of scenes that the guard of the bundled model would turn away."""
    distilled: dict[str, Any] = {"loras": bundled_loras(model, preset), "speedup": bundled_speedup(model, preset)}
    return Editor(EditSettings(model, preset, "", **distilled, any_picture=True, residual=residual, preview=preview))


def request_of(case: Case) -> EditRequest:
    return EditRequest(case.target.caption, case.source.caption)


def _shown(control: Control, renderer: Renderer) -> Way:
    return lambda case: as_tensor(control(renderer, case.target))[None]


def sdedit(backbone: EditableModel, case: Case) -> Tensor:
    """Noised half-way and sampled under the new prompt (Meng et al. 2022, arXiv 2108.01073)."""
    strength, steps = SDEDIT
    schedule = backbone.trained.schedule
    latents = backbone.encode(case.before)
    levels = [level for level in grid(time_uniform, schedule, round(steps / strength)) if level.t <= strength]
    noisy = levels[0].alpha * latents + levels[0].sigma * Noise()(latents)
    f: Denoiser = guided_denoiser(backbone, backbone.encode_prompts([case.target.caption]), 4.5, (128, 128))
    return backbone.decode(integrate(f, dpmpp_2m(), noisy, levels).x).clamp(-1, 1)


def _table(rows: list[dict[str, Any]], kind: str) -> Table:
    measures = ("shape", "edges", "nearer new", "above blur", "object", "background", "whole", "found", "seconds")
    lines = means([row for row in rows if row["kind"] == kind], "way", measures)
    return Table(
        f"Edits, {kind}: shape and PSNR to the true answer in dB, edges in [-1, 1], shares of edits",
        ("way", *measures, "edits"),
        lines,
        "shape: PSNR to the wished emoji at its best pose; nearer new: than to the old one; above blur: than the true "
        "emoji blurred by 4 px; found: the judge reads the wished concept",
    )

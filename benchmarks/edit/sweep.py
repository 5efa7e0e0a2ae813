"""When and where DiT4Edit switches from a locked layout to mutual attention: the paper does not say."""

from dataclasses import replace
from math import inf
from typing import Any

import torch

from benchmarks.edit.cases import SEED, against_truth, judge, swaps
from benchmarks.edit.edits import editor_of, request_of
from benchmarks.result import Cell, Section, Table, means
from fastdiff.apps.edit.presets import PRESETS, Preset
from fastdiff.apps.edit.span import Span

SWITCHES = (0.2, 0.35, 0.5, 0.65, 0.8)  # shares of the steps
FIRST_BLOCKS = (0.0, 0.3, 0.5, 0.7)  # shares of the depth
SWAPS = 24
MEASURES = ("object", "background", "found")


def run(model: str, limit: int | None) -> Section:
    """Every setting on the same word swaps, from one inversion of each: it does not depend on the setting."""
    preset, reader = PRESETS["dit4edit"], judge()
    editor = editor_of(model, preset)
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(swaps(SWAPS if limit is None else limit, seed=SEED + 1)):
        with torch.inference_mode():
            prepared = editor.prepare(case.before, request_of(case), seed=0)
            inversion = prepared.edit.invert()
            for switch in SWITCHES:
                for first in FIRST_BLOCKS:
                    edit = replace(prepared.edit, preset=switched(preset, switch, first))
                    mine = replace(prepared, edit=edit)
                    edited = editor.finish(mine, inversion, edit.sample(inversion, lambda now: None)).colour[None]
                    found = reader.read(edited)[0].concept == case.target.concept
                    row = {"setting": f"switch at {switch:.0%} of the steps, from {first:.0%} of the blocks on"}
                    rows.append(row | {"case": number, "found": found} | against_truth(edited, case))
    lines = sorted(means(rows, "setting", MEASURES), key=_psnr, reverse=True)
    title = "DiT4Edit's switch and first block on word swaps, best first: PSNR to the true answer in dB, judge's finds"
    return Section([Table(title, ("setting", *MEASURES, "edits"), lines)], rows)


def _psnr(line: tuple[Cell, ...]) -> float:
    return line[1] if isinstance(line[1], float) else -inf


def switched(preset: Preset, switch: float, first_block: float) -> Preset:
    return replace(preset, self_attention=(("qkv", Span(0, switch)), ("kv", Span(switch, 1))), first_block=first_block)

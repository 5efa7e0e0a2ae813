"""Rendered colour pages of held-out fonts and photographs: errors of their content and of their paper, by kind."""

from typing import Any

import numpy as np

from benchmarks.docclean.application import Setup
from benchmarks.result import Section, Strip, Table, means
from fastdiff.training.docclean import textures
from fastdiff.training.docclean.colour_degrade import PROFILES, Scene, choose_white, degrade_colour
from fastdiff.training.docclean.colour_page import CONTENT, KINDS, ColourPage, ColourRenderer
from fastdiff.training.docclean.colour_pool import load_photographs
from fastdiff.training.docclean.column import held_out_faces

PAGES = 35  # every kind under every profile
SIDE = 512  # pixels of a page
SEED = 5_021
STYLES = ("serif", "sans", "mono", "old", "hand")
MEASURES = ("content before", "content", "chroma before", "chroma", "dirt before", "dirt")


def run(setup: Setup) -> Section:
    restore = setup.page_restorer("clean")
    faces = [face for family in held_out_faces() for face in family]
    renderer = ColourRenderer({style: [faces] for style in STYLES}, load_photographs(held_out=True), SIDE)
    bank = textures.make_bank(np.random.default_rng(SEED), count=8)
    rows: list[dict[str, Any]] = []
    strips = []
    for index in range(setup.count(PAGES)):
        rng = np.random.default_rng([SEED, index])
        profile = list(PROFILES)[index % len(PROFILES)]
        page = renderer.page(rng, kind=list(KINDS)[index // len(PROFILES) % len(KINDS)])
        back = _shares(renderer.page(rng).pixels)
        scene = Scene(back, page.x_height, bank, choose_white(rng, page.neutral, profile))
        before = np.round(255 * degrade_colour(rng, _shares(page.pixels), scene, profile)).astype(np.uint8)
        after = restore(before, index).pixels
        rows.append({"kind": page.kind, "profile": profile} | _measured(page, before, after))
        error = float(np.sqrt(np.mean((_shares(after) - _shares(page.pixels)) ** 2)))
        strips.append(Strip(f"{index:02d} {page.kind}, {profile}", -error, (before, page.pixels, after)))
    return Section([_table(rows, "kind"), _table(rows, "profile")], rows, strips)


def _measured(page: ColourPage, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Return root mean square errors, white = 1: of print, of its chroma alone, and of the paper."""
    truth, paper = _shares(page.pixels), page.paper / np.float32(255)
    content = np.abs(truth - paper).max(axis=-1) > CONTENT
    values = {}
    for suffix, shown in ((" before", _shares(before)), ("", _shares(after))):
        error = shown - truth
        values["content" + suffix] = _rms(error[content])
        values["chroma" + suffix] = _rms((error - error.mean(axis=-1, keepdims=True))[content])
        values["dirt" + suffix] = _rms(error[~content])
    return values


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(error**2))) if error.size else 0.0


def _shares(pixels: np.ndarray) -> np.ndarray:
    return pixels / np.float32(255)


def _table(rows: list[dict[str, Any]], key: str) -> Table:
    return Table(
        f"Colour pages by {key}: root mean square errors of content, of its chroma and of paper, white = 1",
        (key, *MEASURES, "pages"),
        means(rows, key, MEASURES),
    )

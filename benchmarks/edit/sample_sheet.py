"""Draws `data/edits.jpg`: every sample scene with another word, and with another background, none left out.

    python -m benchmarks.edit.sample_sheet [PATH]

PATH is `data/edits.jpg` by default. Edits are those of `fastdiff edit` with default options.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.edit.cases import as_picture
from benchmarks.edit.edits import DEFAULT, editor_of
from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.edit.editor import Editor
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.images import picture

DATA = Path(__file__).parents[2] / "data"
BACKGROUNDS = (
    "a teal background", "a red background", "a yellow background", "a pink background", "a white background",
    "a purple background", "a green and blue gradient background", "a yellow and pink gradient background",
    "a white and pink striped background", "a red and white striped background", "a white and red dotted background",
    "a black and white checkered background",
)  # fmt: skip
SIDE, GAP, LINE, COLUMNS = 128, 8, 22, 6


def edits(samples: Path) -> list[tuple[str, str, str]]:
    """Every sample's name, its caption and a wished one: the next sample's concept, then another background."""
    captions: dict[str, str] = json.loads((samples / "captions.json").read_text())
    concepts = [caption.partition(" on a")[0] for caption in captions.values()]
    swapped = zip(captions.items(), concepts, [*concepts[1:], concepts[0]], strict=True)
    words = [(name, caption, caption.replace(own, other, 1)) for (name, caption), own, other in swapped]
    painted = zip(captions.items(), concepts, BACKGROUNDS, strict=True)
    return words + [(name, caption, f"{own} on {wished}") for (name, caption), own, wished in painted]


def drawn(editor: Editor, samples: Path) -> Image.Image:
    """A grid of pairs, before and after, each above what was wished for."""
    wishes = edits(samples)
    width, height = 2 * SIDE + 3 * GAP, SIDE + LINE + GAP
    sheet = Image.new("RGB", (COLUMNS * width + GAP, -(-len(wishes) // COLUMNS) * height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (name, caption, wished) in enumerate(wishes):
        top, left = (number // COLUMNS * height + GAP, number % COLUMNS * width + GAP)
        before = picture.read(samples / name).colour
        with torch.inference_mode():
            after = editor(before, EditRequest(wished, caption), 0, None, lambda share: None).colour[None]
        for place, colour in enumerate((before, after)):
            sheet.paste(Image.fromarray(as_picture(colour)), (left + place * (SIDE + GAP), top))
        own, background = wished.split(" on ", 1)
        told = own if background == caption.split(" on ", 1)[1] else background
        draw.text((left, top + SIDE + 3), f"to: {told}", "black", font)
    return sheet


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "edits.jpg"
    drawn(editor_of("scenes", PRESETS[DEFAULT]), DATA / "samples-edit").save(target, quality=88)

"""An endless stream of patches of small print whose words are known, sharp and degraded."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from fastdiff.training.docclean import textures
from fastdiff.training.docclean.crnn import encode
from fastdiff.training.docclean.dataset import MARGIN, Mixture
from fastdiff.training.docclean.degrade import degrade
from fastdiff.training.docclean.fonts import Face, faces_by_style
from fastdiff.training.docclean.page import OVERSAMPLE
from fastdiff.training.docclean.text import Writer

STYLES = {"serif": 0.45, "sans": 0.35, "mono": 0.2}
X_HEIGHTS = (4.5, 10.0)  # pixels: letters that blur destroys
LONGEST = 25  # characters of a word
SIDE = 400  # pixels of a sheet
CUTS = 8  # patches of a sheet
CODE = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789-/.#"


@dataclass(frozen=True)
class Sheet:
    """A sheet of print, grey float32 (SIDE, SIDE), 1 = paper, with its words and their boxes (n, 4) in pixels."""

    pixels: np.ndarray
    words: tuple[str, ...]
    boxes: np.ndarray  # left, top, right, bottom: as wide as the word, as high as the line
    x_height: float


class TextPatches(IterableDataset):
    """Yields (degraded, clean, boxes, labels, lengths); a seed and a start fix the whole stream.

    Pictures are float32 (1, side, side) in [0, 1]. At most `slots` words that lie wholly in the patch have a box
    (slots, 4) in its pixels, labels (slots, LONGEST) as `crnn.encode` makes them, and a length (slots,); empty slots
    have the length 0. Raises MissingError if the fonts are not installed.
    """

    def __init__(self, mixture: Mixture, seed: int, start: int = 0, slots: int = 8):
        self.mixture, self.seed, self.start, self.slots = mixture, seed, start, slots
        self.bank = textures.cached_bank(seed)
        self.styles = faces_by_style()
        self.writer = Writer()

    @property
    def families(self) -> list[str]:
        """The names of the fonts that are drawn."""
        return sorted({faces[0].family for style in STYLES for faces in self.styles[style]})

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        worker = get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, self.start, worker.id if worker else 0, 1])
        while True:
            sheet = draw_sheet(rng, self._face(rng), self.writer)
            for _ in range(CUTS):
                yield self._patch(rng, sheet)

    def _face(self, rng: np.random.Generator) -> Face:
        families = self.styles[str(rng.choice(list(STYLES), p=list(STYLES.values())))]
        faces = families[int(rng.integers(len(families)))]
        return faces[int(rng.integers(len(faces)))]

    def _patch(self, rng: np.random.Generator, sheet: Sheet) -> tuple[Tensor, ...]:
        side = self.mixture.side
        top, left = rng.integers(0, SIDE - side - 2 * MARGIN + 1, 2)
        piece = sheet.pixels[top : top + side + 2 * MARGIN, left : left + side + 2 * MARGIN]
        piece = np.clip((piece - 0.5) * rng.uniform(1, 1.8) + 0.5, 0, 1)
        names, chances = list(self.mixture.profiles), np.array(list(self.mixture.profiles.values()))
        profile = str(rng.choice(names, p=chances / chances.sum()))
        image = degrade(rng, piece, piece, sheet.x_height, self.bank, profile)
        inner = slice(MARGIN, MARGIN + side)
        pair = np.stack([image[inner, inner], piece[inner, inner]])[:, None]
        degraded, clean = torch.from_numpy(np.ascontiguousarray(pair, np.float32))
        return degraded, clean, *self._words(rng, sheet, left + MARGIN, top + MARGIN)

    def _words(self, rng: np.random.Generator, sheet: Sheet, left: int, top: int) -> tuple[Tensor, Tensor, Tensor]:
        boxes = sheet.boxes - np.array([left, top, left, top])
        whole = np.flatnonzero((boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= self.mixture.side).all(axis=1))
        places, labels, lengths = no_words(self.slots)
        for slot, index in enumerate(rng.permutation(whole)[: self.slots]):
            word = sheet.words[index]
            places[slot] = torch.from_numpy(boxes[index])
            labels[slot, : len(word)] = torch.tensor(encode(word))
            lengths[slot] = len(word)
        return places, labels, lengths


def no_words(slots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty boxes, labels and lengths."""
    return torch.zeros(slots, 4), torch.zeros(slots, LONGEST, dtype=torch.long), torch.zeros(slots, dtype=torch.long)


def draw_sheet(rng: np.random.Generator, face: Face, writer: Writer) -> Sheet:
    """Draw lines of words, numbers and codes from edge to edge."""
    x_height = float(rng.uniform(*X_HEIGHTS))
    trial = face.at(100).getbbox("x")
    font = face.at(x_height * OVERSAMPLE * 100 / max(trial[3] - trial[1], 20))
    _, ascent, _, descent = font.getbbox("Adgjpq|(", anchor="ls")
    edge = OVERSAMPLE  # a pixel around the ink
    leading, space = font.size * rng.uniform(1.05, 1.7), font.getlength(" ") * rng.uniform(0.9, 1.6)
    canvas = Image.new("L", (SIDE * OVERSAMPLE,) * 2, 255)
    draw = ImageDraw.Draw(canvas)
    words, boxes = [], []
    y = float(rng.uniform(0, leading))
    while y < canvas.height + leading:
        x = float(rng.uniform(-5, 1) * font.size)
        while x < canvas.width:
            word = token(rng, writer)
            place = round(x), round(y)
            draw.text(place, word, font=font, fill=0, anchor="ls")
            left, _, right, _ = font.getbbox(word, anchor="ls")
            words.append(word)
            boxes.append((place[0] + left - edge, place[1] + ascent - edge,
                          place[0] + right + edge, place[1] + descent + edge))  # fmt: skip
            x += font.getlength(word) + space
        y += leading
    pixels = np.asarray(canvas.reduce(OVERSAMPLE), np.float32) / 255
    return Sheet(pixels, tuple(words), np.array(boxes, np.float32) / OVERSAMPLE, x_height)


def token(rng: np.random.Generator, writer: Writer) -> str:
    """Return a number or a code for every second token, else a word; at most LONGEST printable ASCII characters."""
    n = int(rng.integers(10 ** int(rng.integers(1, 7))))
    match rng.integers(20):
        case 0 | 1 | 2:
            text = f"{n}"
        case 3:
            text = f"{n / 100:.2f}"
        case 4:
            text = f"{rng.choice(['$', '+', '-', ''])}{n:,}{rng.choice(['.00', '%', '', ''])}"
        case 5:
            mark = rng.choice([".", "/", "-"])
            text = mark.join([f"{n % 28 + 1:02d}", f"{n % 12 + 1:02d}", f"{1900 + n % 130}"])
        case 6:
            text = f"{n % 24}:{n % 60:02d}"
        case 7:
            text = f"({n % 1000})"
        case 8 | 9:
            text = "".join(rng.choice(list(CODE), int(rng.integers(3, 10))))
        case 10:
            text = f"{''.join(rng.choice(list(CODE[:23]), int(rng.integers(1, 4))))}{rng.choice(['', '-', '/'])}{n}"
        case 11:
            text = writer.word(rng).upper()
        case 12:
            text = writer.word(rng).capitalize() + str(rng.choice([",", ".", ":", ";", "?", "!", ")", "'s", '"']))
        case 13:
            text = f"{rng.choice(['(', '[', '*', '&', '@', '<', '='])}{writer.word(rng)}"
        case _:
            text = writer.word(rng)
    return text[:LONGEST]

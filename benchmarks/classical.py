"""Baselines without a network: each maps a grey page, uint8 (H, W), to uint8 grey or to bool, True for paper."""

from collections.abc import Callable

import cv2
import doxapy
import numpy as np

Baseline = Callable[[np.ndarray], np.ndarray]


def nothing(grey: np.ndarray) -> np.ndarray:
    return grey


def background_division(grey: np.ndarray) -> np.ndarray:
    """Divide by the paper (7x7 dilation, then 21x21 median); values above 0.9 of the paper become white."""
    paper = cv2.medianBlur(cv2.dilate(grey, np.ones((7, 7), np.uint8)), 21)
    flat = np.clip(grey / np.maximum(paper, 1.0), 0, 1)
    return np.where(flat > 0.9, 255, np.rint(255 * flat)).astype(np.uint8)


def gaussian_control(grey: np.ndarray) -> np.ndarray:
    """Blur with sigma 1: a control, whose OCR gain is no gain of cleaning."""
    return cv2.GaussianBlur(grey, (0, 0), 1.0)


def resize_control(grey: np.ndarray) -> np.ndarray:
    """Shrink to half the size and back: the other control."""
    height, width = grey.shape
    half = cv2.resize(grey, (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA)
    return cv2.resize(half, (width, height), interpolation=cv2.INTER_CUBIC)


def otsu(grey: np.ndarray) -> np.ndarray:
    return _threshold(grey, doxapy.Binarization.Algorithms.OTSU, {})


def sauvola(grey: np.ndarray) -> np.ndarray:
    return _threshold(grey, doxapy.Binarization.Algorithms.SAUVOLA, {"window": 75, "k": 0.2})


def wolf(grey: np.ndarray) -> np.ndarray:
    return _threshold(grey, doxapy.Binarization.Algorithms.WOLF, {"window": 75, "k": 0.2})


def nick(grey: np.ndarray) -> np.ndarray:
    return _threshold(grey, doxapy.Binarization.Algorithms.NICK, {"window": 75, "k": -0.2})


def isauvola(grey: np.ndarray) -> np.ndarray:
    return _threshold(grey, doxapy.Binarization.Algorithms.ISAUVOLA, {})


CLEANERS: dict[str, Baseline] = {
    "do nothing": nothing,
    "background division": background_division,
    "Otsu": otsu,
    "Sauvola": sauvola,
}
BINARISERS: dict[str, Baseline] = {
    "Otsu": otsu,
    "Sauvola": sauvola,
    "Wolf": wolf,
    "NICK": nick,
    "ISauvola": isauvola,
}
CONTROLS: dict[str, Baseline] = {"gaussian sigma 1": gaussian_control, "resize 0.5": resize_control}


def _threshold(grey: np.ndarray, algorithm: object, parameters: dict[str, float]) -> np.ndarray:
    binariser = doxapy.Binarization(algorithm)
    binariser.initialize(np.ascontiguousarray(grey))
    result = np.empty_like(grey)
    binariser.to_binary(result, parameters)
    return result > 127

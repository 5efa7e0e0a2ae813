"""Identifies an installed OCR engine without loading it: versions of its packages and digests of its models."""

import re
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from fastdiff.models import digest

Version = tuple[str, ...]


def engine_version(name: str) -> Version:
    """Return the packages and models that `engines.load_engine` uses; empty for "none" and for an engine that is not
    installed.
    """
    try:
        return VERSIONS[name]() if name in VERSIONS else ()
    except (ImportError, FileNotFoundError):
        return engine_version("rapidocr") if name == "easyocr" else ()


def _easyocr() -> Version:
    import easyocr_en_models

    weights = Path(easyocr_en_models.model_dir())
    files = [path for path in weights.iterdir() if path.suffix == ".pth"]
    if not files:
        raise FileNotFoundError(weights)
    return "easyocr", version("easyocr"), digest.of_files(files, weights)


def _rapidocr() -> Version:
    """Return the version alone: models and settings lie in the wheel."""
    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise ImportError("rapidocr")
    package = Path(spec.origin).parent
    files = [path for pattern in ("*.yaml", "models/*.onnx") for path in package.glob(pattern)]
    return "rapidocr", version("rapidocr"), version("onnxruntime"), digest.of_files(files, package)


def _tesseract() -> Version:
    """Return the program on the PATH, and the English data that it finds."""
    printed, listed = (
        subprocess.run(["tesseract", option], capture_output=True, text=True, errors="replace").stdout
        for option in ("--version", "--list-langs")
    )
    place = re.search('"(.+)"', listed)
    data = Path(place[1]) / "eng.traineddata" if place else None
    known = digest.of_file(data) if data is not None and data.is_file() else ""
    return "tesseract", version("pytesseract"), printed.partition("\n")[0], known


VERSIONS: Mapping[str, Callable[[], Version]] = {"easyocr": _easyocr, "rapidocr": _rapidocr, "tesseract": _tesseract}

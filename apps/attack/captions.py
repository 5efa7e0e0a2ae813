"""Captions of pictures, for text-conditioned priors."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fastdiff.apps.attack.options import LONGEST_CAPTION
from fastdiff.apps.attack.settings import AttackSettings
from fastdiff.models.captioner import load_captioner
from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import UsageError


class Captions:
    """Captions by the settings: one for all, those of a file, those of a model, or a sentence with the class.

    Raises UsageError for a file that is no JSON object of texts, and as `load_captioner` does.
    """

    def __init__(self, settings: AttackSettings, device: str) -> None:
        self._one = settings.caption
        self._listed = _read(settings.caption_file) if settings.caption_file else {}
        self._model = load_captioner(settings.captioner, device) if settings.captioner else None

    def of(self, path: Path, colour: Tensor, name: str) -> str:
        """Return the caption of a picture, (1, 3, H, W) in [-1, 1], whose class has this name.

        Raises UsageError for a picture that the caption file does not list.
        """
        if self._one is not None:
            return self._one
        if self._listed:
            if path.name not in self._listed:
                raise UsageError(f"{path.name} has no caption in the given file")
            return self._listed[path.name]
        if self._model is not None:
            return self._model(colour)
        return f"a photo of a {name}"


def _read(path: Path) -> Mapping[str, str]:
    listed = read_object(path)
    for name, text in listed.items():
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_CAPTION:
            raise UsageError(f"the caption of {name} in {path}: give a text of 1 to {LONGEST_CAPTION} characters")
    if not listed:
        raise UsageError(f"{path} lists no captions: give an object of file names and texts")
    return {Path(name).name: text for name, text in listed.items()}

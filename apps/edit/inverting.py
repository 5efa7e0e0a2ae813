"""A picture to what a model makes it from again: a file of the inversion, and how exact that is."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastdiff.apps import atomic, picture
from fastdiff.apps.edit.editor import Editor
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.wish import Wish
from fastdiff.apps.likeness import distance, psnr
from fastdiff.inversion import stored
from fastdiff.inversion.stored import Setting
from fastdiff.solvers.errors import OutputError, UsageError

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Inverted:
    """What an inversion file gives back: the distance of its latents, relative to the picture's, and the PSNR in dB of
    the picture at the model's size, beside what the codec alone reaches; `notes` are sentences worth knowing."""

    output: str
    source: str
    inversion: str
    calls: int
    roundtrip_error: float
    psnr: float
    codec_ceiling: float
    notes: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def run(options: Options) -> Inverted:
    """Invert one picture, write the file once the picture is regenerated from what is read of it.

    Raises UsageError for several inputs, an output that is a folder or named as a picture, and as the editor does,
    NotFiniteError where numbers overflow, OutputError where a file would be replaced unasked.
    """
    if len(options.inputs) != 1:
        raise UsageError("give one picture to invert")
    source = Path(options.inputs[0])
    original = picture.read(source)
    target = options.out or source.with_name(f"{source.stem}-inversion{SUFFIX}")
    if target.is_dir() or target.suffix.lower() in picture.SUFFIXES:
        kind = "a folder" if target.is_dir() else "named as a picture"
        raise UsageError(f"{target} is {kind}: an inversion is one {SUFFIX} file")
    if target.exists() and not options.force:
        raise OutputError(f"{target} exists: give --force to replace it")
    editor = Editor(options)
    with torch.inference_mode():
        return editor.in_precision(lambda: _inverted(editor, original.colour, options, target))


def _inverted(editor: Editor, original: Tensor, options: Options, target: Path) -> Inverted:
    """Write the file once what is read from it gives a picture."""
    begun = editor.begin(original, Wish(options.source or "", options.source), options.seed)
    edit, now = begun.edit, begun.canvas.picture
    inversion = editor.invert(begun)
    setting = Setting(edit.preset.solver or edit.preset.inversion, (begun.source,), edit.preset.source_guidance)
    with atomic.draft(target) as draft:
        stored.store(draft, inversion, setting)
        again, _ = stored.load(draft, edit.backbone.trained.schedule, edit.latents.device)
        latents = editor.regenerate(begun, again)
        after = editor.decode(latents)
        atomic.publish(draft, target)
    return Inverted(
        str(target),
        begun.source,
        setting.method,
        inversion.calls,
        distance(latents, edit.latents),
        psnr(after.clamp(-1, 1), now),
        psnr(begun.again.clamp(-1, 1), now),
        tuple(begun.notes),
    )

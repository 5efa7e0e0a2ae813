"""A picture to what a model makes it from again: a file of the inversion, and how exact that is."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastdiff.apps.edit import identity
from fastdiff.apps.edit.edit_request import EditRequest
from fastdiff.apps.edit.editor import Editor
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.settings import settings_of
from fastdiff.apps.images import picture
from fastdiff.apps.running import output_manifest
from fastdiff.apps.running.claims import Claims, OutputRequest
from fastdiff.apps.running.folder_locks import FolderLocks
from fastdiff.apps.running.inputs import Item
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.apps.running.run import item_request_digest, request_digest
from fastdiff.apps.similarity import distance, psnr
from fastdiff.inversion import inversion_file
from fastdiff.inversion.inversion_file import InversionSettings
from fastdiff.solvers.errors import OutputError, UsageError

VERB, SUFFIX = "invert", ".safetensors"


@dataclass(frozen=True)
class Inverted:
    """The round trip through an inversion file.

    `roundtrip_error` is the distance of its latents, relative to the picture's. `psnr` in dB is of the reconstruction
    at the model's size, `codec_ceiling` what the autoencoder alone reaches. `notes` are sentences for the user.
    """

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

    A file that an earlier run finished from the same picture with the same options is not made again. Raises UsageError
    for several inputs, an output that is a folder or named as a picture, and as the editor does, NotFiniteError where
    numbers overflow, OutputError where a file would be replaced unasked.
    """
    if len(options.inputs) != 1:
        raise UsageError("give one picture to invert")
    source = Path(options.inputs[0])
    if options.out is not None and (options.out.is_dir() or options.out.suffix.lower() in picture.SUFFIXES):
        kind = "a folder" if options.out.is_dir() else "named as a picture"
        raise UsageError(f"{options.out} is {kind}: an inversion is one {SUFFIX} file")
    original = picture.read(source, first_frame=True)
    with FolderLocks() as locks:
        preferred = options.out or source.with_name(f"{source.stem}-inversion{SUFFIX}")
        locks.add([preferred.parent])
        item = _claimed(options, source, preferred)
        key = output_manifest.digest(
            output_manifest.file_digest(source), options.source, options.seed, identity.fingerprint(options)
        )
        manifest = OutputManifest(item.output, source, key, item.request, options.force)
        if not options.force and (records := manifest.finished()):
            return Inverted(**records[0] | {"notes": tuple(records[0]["notes"])})
        editor = Editor(settings_of(options))
        with torch.inference_mode():
            return editor.in_precision(lambda: _inverted(editor, original.colour, options, manifest))


def _claimed(options: Options, source: Path, preferred: Path) -> Item:
    request = request_digest(VERB, options)
    item = Item(source, preferred)
    claims = Claims((source, *options.reads), force=options.force)
    item = claims.claim(
        OutputRequest(item, item_request_digest(request, item, options.seed), named=options.out is not None)
    )
    if item.problem:
        raise OutputError(item.problem)
    return item


def _inverted(editor: Editor, original: Tensor, options: Options, manifest: OutputManifest) -> Inverted:
    """Write the file once what is read from it gives a picture."""
    prepared = editor.prepare(original, EditRequest(options.source or "", options.source), options.seed)
    edit, now = prepared.edit, prepared.canvas.picture
    inversion = editor.invert(prepared)
    method = edit.preset.solver or edit.preset.inversion
    guidance = edit.preset.source_guidance
    setting = InversionSettings(method, (prepared.source if guidance else "",), guidance)
    with manifest.drafts([manifest.output]) as drafts:
        inversion_file.save_inversion(drafts[manifest.output], inversion, setting)
        loaded, _ = inversion_file.load_inversion(
            drafts[manifest.output], edit.backbone.scheduler(edit.size).schedule, edit.latents.device
        )
        latents = editor.regenerate(prepared, loaded)
        after = editor.decode(latents)
        inverted = Inverted(
            str(manifest.output),
            prepared.source,
            setting.method,
            inversion.nfe,
            distance(latents, edit.latents),
            psnr(after.clamp(-1, 1), now),
            psnr(prepared.reconstruction.clamp(-1, 1), now),
            tuple(prepared.notes),
        )
        manifest.publish(drafts, [asdict(inverted)], final=True)
    return inverted

"""Provenance of an edited picture: the record of its options and inputs, and the options that reproduce it.

The record in the picture has the names of files. Where they were stands in the manifest beside the picture, which
stays on this computer; a picture that was moved finds them beside itself or in the working folder. Earlier versions
recorded absolute paths.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from fastdiff.apps import full_run
from fastdiff.apps.edit.acceleration_choice import AccelerationChoice
from fastdiff.apps.edit.identity import named_files
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.report import EditReport
from fastdiff.apps.images import picture
from fastdiff.apps.running import output_manifest
from fastdiff.apps.running.folder_manifest import Manifest
from fastdiff.models.catalogue import BUNDLED
from fastdiff.models.hub import HubId
from fastdiff.models.lora import LoraFile
from fastdiff.solvers.errors import UsageError

PATHS = ("mask", "solver_file", "config", "speedup")
KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("prompt", "model", "dtype"), str),
    **dict.fromkeys(("source", "negative", "preset", "solver", "blend", *PATHS), str | None),
    **dict.fromkeys(("guidance", "strength", "focus", "merge"), float | int | None),
    **dict.fromkeys(("steps", "attempts"), int | None),
    **dict.fromkeys(("emphasize", "release", "lora"), list),
    **dict.fromkeys(("residual", "preview", "outside", "unknown_words"), bool),
    "seed": int,
    "guidance_rescale": float | int | None,
    "guidance_interval": list | None,
    "accelerate": str | None,
    "parallel": int | None,
    "budget": float | int | None,
}  # types of the recorded options
LATER: Mapping[str, Any] = {
    **dict.fromkeys(("solver_file", "config", "speedup", "guidance_rescale", "guidance_interval", "negative")),
    **dict.fromkeys(("accelerate", "parallel", "budget")),
    "unknown_words": False,
    "lora": [],
}  # not recorded by earlier versions
KIND_OF_FILE = {  # in messages
    "checkpoint": "checkpoint",
    "lora": "LoRA file",
    "speedup": "SpeedUpNet file",
    "accelerate": "cache file",
}


def record(report: EditReport, options: Options, content: str, named: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the record for a picture: the name of the input and its digest, the options with resolved defaults and
    names of files, and the digests of the files that the options name (`identity.named_files`)."""
    chosen = {name: getattr(options, name) for name in KINDS}
    chosen |= {name: getattr(report, name) for name in ("prompt", "source", "seed", "preset")}
    chosen |= {name: Path(place).name for name, place in places(report.input, options).items() if name in KINDS}
    chosen["lora"] = [str(replace(each, path=Path(each.path.name))) for each in options.loras]
    chosen["outside"] = options.outside or options.force
    return {"input": Path(report.input).name, "sha256": content, "options": chosen, "digests": dict(named)}


def places(source: str, options: Options) -> dict[str, str]:
    """Return the absolute paths of the input and of the files and folders that the options name, for the manifest."""
    named = {"input": Path(source)} | {name: getattr(options, name) for name in PATHS}
    if options.model not in BUNDLED and os.path.exists(options.model):
        named["model"] = Path(options.model)
    named["accelerate"] = options.acceleration.file
    named |= {_role(number): each.path for number, each in enumerate(options.loras)}
    return {name: str(path.resolve()) for name, path in named.items() if path is not None}


def remembered(path: Path) -> Options:
    """Read the options that reproduce a picture.

    Raises UsageError for a file without such a record, and for an input, model, mask or solver file that is absent or
    has changed; MissingError for a model that is not on this computer.
    """
    stored = picture.read_record(path)
    try:
        name, digest, options = str(stored["input"]), stored["sha256"], LATER | stored["options"]
        named = dict(stored.get("digests", {}))  # earlier versions have none
        chosen = {name: options[name] for name in KINDS}
        words = {name: tuple(chosen[name]) for name, kind in KINDS.items() if kind is list}
        fits = all(isinstance(chosen[name], kind) for name, kind in KINDS.items())
        if not fits or not all(isinstance(each, str) for each in chain.from_iterable(words.values())):
            raise TypeError
        search = _Search(path)
        paths = {name: chosen[name] and search.found(name, chosen[name]) for name in PATHS}
        if options["model"] not in BUNDLED and HubId.parse(options["model"]) is None:
            chosen["model"] = str(search.found("model", options["model"]))
        if AccelerationChoice(chosen["accelerate"]).file is not None:
            chosen["accelerate"] = str(search.found("accelerate", chosen["accelerate"]))
        loras = map(LoraFile.parse, words["lora"])
        words["lora"] = tuple(
            str(replace(each, path=search.found(_role(number), str(each.path)))) for number, each in enumerate(loras)
        )
        interval = chosen["guidance_interval"]
        if interval is not None:
            low, high = map(float, interval)
            chosen["guidance_interval"] = low, high
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path.name} does not say how it was made in a way that this version knows") from error
    source = search.found("input", name)
    if output_manifest.file_digest(source) != digest:
        raise UsageError(f"{source} has changed since {path.name} was made from it")
    made = Options((str(source),), **chosen | words | paths)
    for name, now in named_files(made).items() if named else ():
        if named.get(name) != now:
            option = _option(name, made)
            given = getattr(made, option)
            kind = KIND_OF_FILE.get(name, option.replace("_", " "))
            what = f"the {kind} {', '.join(given) if isinstance(given, tuple) else given}"
            raise UsageError(f"{what} has changed since {path.name} was made with it: edit the picture anew")
    return made


def _option(name: str, made: Options) -> str:
    """Return the option that gives a file of `identity.named_files` its place."""
    if made.config is None:
        return name
    return {"model": "config", "checkpoint": "model"}.get(name, name)


def _role(number: int) -> str:
    """Return the name of a LoRA file in the manifest, by its place in the options."""
    return f"lora {number}"


class _Search:
    """Looks for the files that a picture was made from."""

    def __init__(self, picture: Path) -> None:
        made = output_manifest.file_digest(picture)
        entries = [entry for entry in Manifest.read(picture.parent).entries if made in entry.outputs.values()]
        self._picture = picture
        self._places: list[dict[str, Any]] = [entry.records[1] for entry in entries if len(entry.records) > 1]

    def found(self, role: str, name: str) -> Path:
        """Return the place of a file or folder: where it was, else beside the picture, else in the working folder.

        Raises UsageError if it is at none of them.
        """
        stored = [str(places[role]) for places in self._places if role in places]
        candidates = [*map(Path, stored), self._picture.parent / name, Path(name)]
        for path in candidates:
            if os.path.exists(path):
                return path
        where = f"at {stored[0]}, " if stored else ""
        raise UsageError(
            f"{name}, from which {self._picture.name} was made, is neither {where}beside it nor in the working folder: "
            "put it there"
        )


def refined(path: Path) -> Options:
    """Read the options that finish a preview, from the same noise.

    What a solver file previews is the edit by the full run that such files are fitted to.

    Raises UsageError as `remembered` does, and for a PNG that is no preview.
    """
    options = remembered(path)
    if not options.preview:
        raise UsageError(f"{path.name} is finished: give a picture that --preview made")
    if options.solver_file is None:
        return replace(options, preview=False, attempts=1)
    solver, steps = full_run.SOLVER, full_run.STEPS
    return replace(options, preview=False, solver_file=None, solver=solver, steps=steps, strength=1.0)

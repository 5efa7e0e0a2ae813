"""Provenance of an edited PNG: the record of its options and inputs, and the options that reproduce it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastdiff.apps.edit.identity import named_files
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.report import EditReport
from fastdiff.apps.images import picture
from fastdiff.apps.running import output_manifest
from fastdiff.solvers.errors import UsageError

PATHS = ("mask", "solver_file")
KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("prompt", "model", "dtype"), str),
    **dict.fromkeys(("source", "preset", "solver", "blend", *PATHS), str | None),
    **dict.fromkeys(("guidance", "strength", "focus", "merge"), float | int | None),
    **dict.fromkeys(("steps", "attempts"), int | None),
    **dict.fromkeys(("emphasize", "release"), list),
    **dict.fromkeys(("residual", "preview", "outside"), bool),
    "seed": int,
    "guidance_rescale": float | int | None,
    "guidance_interval": list | None,
}  # types of the recorded options
LATER = dict.fromkeys(("solver_file", "guidance_rescale", "guidance_interval"))  # not recorded by earlier versions


def record(report: EditReport, options: Options, content: str, named: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the record for a PNG: the input and its digest, the options with resolved defaults, and the digests of the
    files that the options name (`identity.named_files`)."""
    chosen = {name: getattr(options, name) for name in KINDS}
    chosen |= {name: getattr(report, name) for name in ("prompt", "source", "seed", "preset")}
    chosen |= {name: chosen[name] and str(chosen[name].resolve()) for name in PATHS}
    chosen["outside"] = options.outside or options.force
    return {"input": str(Path(report.input).resolve()), "sha256": content, "options": chosen, "digests": dict(named)}


def remembered(path: Path) -> Options:
    """Read the options that reproduce a PNG.

    Raises UsageError for a file without such a record, and for an input, model, mask or solver file that is absent or
    has changed; MissingError for a model that is not on this computer.
    """
    stored = picture.read_record(path)
    try:
        source, digest, options = Path(stored["input"]), stored["sha256"], LATER | stored["options"]
        named = dict(stored.get("digests", {}))  # earlier versions have none
        chosen = {name: options[name] for name in KINDS}
        unchanged = output_manifest.file_digest(source) == digest
        words = {name: tuple(chosen[name]) for name in ("emphasize", "release")}
        fits = all(isinstance(chosen[name], kind) for name, kind in KINDS.items())
        if not fits or not all(isinstance(each, str) for each in (*words["emphasize"], *words["release"])):
            raise TypeError
        paths = {name: chosen[name] and Path(chosen[name]) for name in PATHS}
        interval = chosen["guidance_interval"]
        if interval is not None:
            low, high = map(float, interval)
            chosen["guidance_interval"] = low, high
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path.name} does not say how it was made in a way that this version knows") from error
    if not unchanged:
        raise UsageError(f"{source} has changed since {path.name} was made from it")
    made = Options((str(source),), **chosen | words | paths)
    for name, now in named_files(made).items() if named else ():
        if named.get(name) != now:
            what = f"the {name.replace('_', ' ')} {getattr(made, name)}"
            raise UsageError(f"{what} has changed since {path.name} was made with it: edit the picture anew")
    return made


def refined(path: Path) -> Options:
    """Read the options that finish a preview, from the same noise.

    Raises UsageError as `remembered` does, and for a PNG that is no preview.
    """
    options = remembered(path)
    if not options.preview:
        raise UsageError(f"{path.name} is finished: give a picture that --preview made")
    return replace(options, preview=False, attempts=1)

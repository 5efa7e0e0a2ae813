"""What an edited PNG remembers of its making, and the options from that to make it again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastdiff.apps import output_manifest, picture
from fastdiff.apps.edit.identity import named_files
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.report import EditReport
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
}  # of the options that are remembered
LATER = {"solver_file": None}  # what earlier versions did not have


def record(report: EditReport, options: Options, content: str, named: Mapping[str, str | None]) -> dict[str, Any]:
    """What a PNG tells of its making: the input and its digest, the options with what they left open put in, and the
    digests of the files that these name (`identity.named_files`)."""
    chosen = {name: getattr(options, name) for name in KINDS}
    chosen |= {name: getattr(report, name) for name in ("prompt", "source", "seed", "preset")}
    chosen |= {name: chosen[name] and str(chosen[name].resolve()) for name in PATHS}
    chosen["outside"] = options.outside or options.force
    return {"input": str(Path(report.input).resolve()), "sha256": content, "options": chosen, "digests": dict(named)}


def remembered(path: Path) -> Options:
    """The options that made a PNG, to make it again.

    Raises UsageError for a file that does not say, and for an input, a model, a mask or a solver file that is no longer
    there or has changed; MissingError for a model that is not here.
    """
    told = picture.read_record(path)
    try:
        source, digest, options = Path(told["input"]), told["sha256"], LATER | told["options"]
        named = dict(told.get("digests", {}))  # earlier versions told none
        chosen = {name: options[name] for name in KINDS}
        unchanged = output_manifest.file_digest(source) == digest
        words = {name: tuple(chosen[name]) for name in ("emphasize", "release")}
        fits = all(isinstance(chosen[name], kind) for name, kind in KINDS.items())
        if not fits or not all(isinstance(each, str) for each in (*words["emphasize"], *words["release"])):
            raise TypeError
        paths = {name: chosen[name] and Path(chosen[name]) for name in PATHS}
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
    """The options that finish a preview, from its very noise.

    Raises UsageError as `remembered` does, and for what is no preview.
    """
    options = remembered(path)
    if not options.preview:
        raise UsageError(f"{path.name} is finished: give a picture that --preview made")
    return replace(options, preview=False, attempts=1)

"""What edit can be asked for; light to import, for the command line and for worker processes."""

import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fastdiff.apps.edit.presets import PRESETS
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.validation import check_name

LONGEST_PROMPT = 2000  # characters
MOST_STEPS = 1000


@dataclass(frozen=True)
class Options:
    """What to edit, and how.

    `inputs`, `out` and the default names of outputs are those of `fastdiff.apps.inputs.plan`, with the verb "edit";
    outputs are PNG, which remember how they were made. `prompt` says what the picture shall show, `source` what it
    shows: None lets the bundled model's recogniser say so. `csv` is a table of edits instead, with the columns `input`
    and `prompt` and perhaps `source`. `steps`, `guidance`, `strength` (0 to 1) and `merge` (0 to 0.75) default to the
    preset's, and so do `focus` (0 to 0.99), the share of the picture that guidance leaves alone, and `attempts`, how
    often the bundled model may try until its recogniser sees what was wished; `blend` names the words outside of which
    nothing changes, `mask` a picture that is white where something may; `emphasize` holds words with factors such as
    "stripes:1.5", `release` words with the share of the steps after which they are no longer heard where the source
    heard its own. `preview` takes a few steps of the edit, in one attempt. `n` variants differ by their seed.
    `solver_file` takes the place of the preset's inversion and levels: its fewest calls are the default of `steps`.
    `outside` edits pictures unlike the model's own; `force` does too, and does finished edits again, and replaces files
    of others, but never an input. With `offload` only the transformer stays on the device between uses.
    """

    inputs: tuple[str, ...] = ()
    prompt: str | None = None
    source: str | None = None
    csv: Path | None = None
    out: Path | None = None
    recursive: bool = False
    force: bool = False
    outside: bool = False
    preset: str | None = None
    model: str = "scenes"
    solver: str | None = None
    solver_file: Path | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    focus: float | None = None
    merge: float | None = None
    attempts: int | None = None
    blend: str | None = None
    mask: Path | None = None
    emphasize: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    residual: bool = True
    preview: bool = False
    n: int = 1
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    offload: bool = False
    report: Path | None = None
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.preset is not None:
            check_name("preset", self.preset, PRESETS)
        if (self.csv is None) == (self.prompt is None) or (self.csv is None) != bool(self.inputs):
            raise UsageError("give pictures and --prompt, or --csv with both")
        for prompt in (self.prompt, self.source):
            if prompt is not None and len(prompt) > LONGEST_PROMPT:
                raise UsageError(f"a prompt of {len(prompt)} characters: at most {LONGEST_PROMPT}")
        others = (self.solver, self.strength, self.attempts, self.preview or None)
        if self.solver_file is not None and any(given is not None for given in others):
            raise UsageError(
                "a solver file says which solver goes through which levels, once: give it no other solver, strength, "
                "attempts or preview"
            )
        for name, value, low, high in (
            ("steps", self.steps, 1, MOST_STEPS),
            ("guidance", self.guidance, 0, 100),
            ("strength", self.strength, 0.05, 1),
            ("focus", self.focus, 0, 0.99),
            ("merge", self.merge, 0, 0.75),
            ("attempts", self.attempts, 1, 100),
            ("variants", self.n, 1, 100),
            ("seed", self.seed, 0, 2**63),
        ):
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} of {value}: from {low} to {high}")

    @property
    def reads(self) -> tuple[Path, ...]:
        """Files that a run reads besides its inputs: mask, table, solver file, and those of a model's folder."""
        named = (path for path in (self.mask, self.csv, self.solver_file) if path is not None)
        folder = Path(self.model)
        parts = (folder.rglob(pattern) for pattern in ("*.safetensors", "*.json") if os.path.isdir(folder))
        return (*named, *chain.from_iterable(parts))

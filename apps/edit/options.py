"""The options of edit. Imports no torch, for the command line and for worker processes."""

import os
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from fastdiff.apps.edit.acceleration_choice import ACCELERATIONS, AccelerationChoice
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.images.kinds import IMAGE_SUFFIXES
from fastdiff.apps.option_paths import take_paths
from fastdiff.apps.running.run import ADDED
from fastdiff.models.lora import LoraFile
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.validation import check_name

LONGEST_PROMPT = 2000  # characters
MOST_STEPS = 1000
FORMATS = ("png", "jpg", "webp")  # kinds of outputs


@dataclass(frozen=True)
class Options:
    """The inputs, outputs and settings of a run of edit.

    `inputs`, `out` and the default names of outputs are as in `running.inputs.plan`, with the verb "edit".
    Outputs are of the kind `format`, one of FORMATS (None: that of `out`, else PNG), and record their provenance unless
    `metadata` is False. `negative` is the negative prompt: guidance leads away from it instead of from the source
    prompt or the empty one. With `unknown_words`, prompts may have words that the model does not know. `prompt` says
    what the picture should show, `source` what it shows (None: the bundled model's recogniser says so). `csv` is a
    table of edits in place of these, with the columns `input`, `prompt` and optionally `source`. `steps`, `guidance`,
    `strength` (0 to 1), `merge` (0 to 0.75), `focus` (0 to 0.99, the share of the picture without guidance) and
    `attempts` (at most so many tries, until everything that was asked for is seen) default to the preset's.
    `guidance_rescale` (0 to 1) is the share by which guided estimates return to the deviation of unguided ones,
    `guidance_interval` the times, from 0 to 1 at pure noise, with guidance.

    `blend` names words: nothing changes where they receive no attention. `mask` is a picture, white where the edit may
    change something. `emphasize` holds words with factors such as "stripes:1.5", `release` words with the share of the
    steps after which they keep their own attention maps. `preview` takes a few steps in one attempt, or those of
    `solver_file`. `n` variants differ by their seed. `solver_file` replaces the preset's inversion and levels; `steps`
    then defaults to its smallest NFE. `outside` also edits pictures unlike the model's training data; so does `force`,
    which repeats finished edits and replaces files of others, but never an input. With `offload`, one part of the model
    is on the device at a time. `config` is the model folder with the configs of a checkpoint in one file, which `model`
    names.
    `lora` names LoRA files that change the model, each as "FILE" or "FILE:SCALE"; `speedup` is the file of a SpeedUpNet
    for the preset of that name. Paths may be given as text.
    `accelerate` is one of ACCELERATIONS or the path of a cache file of `fastdiff tune`; `parallel` (1 to MOST_STEPS),
    `budget` (above 0, at most 1) and `verify` are as in `AccelerationChoice`.
    """

    inputs: tuple[str, ...] = ()
    prompt: str | None = None
    source: str | None = None
    negative: str | None = field(default=None, metadata={ADDED: True})
    unknown_words: bool = field(default=False, metadata={ADDED: True})
    csv: Path | None = None
    out: Path | None = None
    format: str | None = field(default=None, metadata={ADDED: True})
    metadata: bool = field(default=True, metadata={ADDED: True})
    recursive: bool = False
    force: bool = False
    outside: bool = False
    preset: str | None = None
    model: str = "scenes"
    config: Path | None = field(default=None, metadata={ADDED: True})
    lora: tuple[str, ...] = field(default=(), metadata={ADDED: True})
    speedup: Path | None = field(default=None, metadata={ADDED: True})
    solver: str | None = None
    solver_file: Path | None = None
    steps: int | None = None
    guidance: float | None = None
    guidance_rescale: float | None = field(default=None, metadata={ADDED: True})
    guidance_interval: tuple[float, float] | None = field(default=None, metadata={ADDED: True})
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
    accelerate: str | None = field(default=None, metadata={ADDED: True})
    parallel: int | None = field(default=None, metadata={ADDED: True})
    budget: float | None = field(default=None, metadata={ADDED: True})
    verify: bool = field(default=False, metadata={ADDED: True})
    compile: bool = False
    offload: bool = False
    report: Path | None = None
    jobs: int = 1

    def __post_init__(self) -> None:
        take_paths(self)
        if self.preset is not None:
            check_name("preset", self.preset, PRESETS)
        if (self.csv is None) == (self.prompt is None) or (self.csv is None) != bool(self.inputs):
            raise UsageError("give pictures and --prompt, or --csv with both")
        for prompt in (self.prompt, self.source, self.negative):
            if prompt is not None and len(prompt) > LONGEST_PROMPT:
                raise UsageError(f"a prompt of {len(prompt)} characters: at most {LONGEST_PROMPT}")
        if self.format is not None:
            check_name("format", self.format, FORMATS)
            given = None if self.out is None or self.out.is_dir() else IMAGE_SUFFIXES.get(self.out.suffix.lower())
            if given not in (None, self.format):
                raise UsageError(
                    f"{self.out} is no {self.format} file: give one of --out and --format, or the same kind"
                )
        others = (self.solver, self.strength, self.attempts)
        if self.solver_file is not None and any(given is not None for given in others):
            raise UsageError(
                "a solver file says which solver goes through which levels, once: give it no other solver, strength or "
                "attempts"
            )
        if (self.loras or self.config is not None) and self.solver_file is not None:
            raise UsageError("a solver file was found for a model folder as it is: give it no LoRA and no checkpoint")
        acceleration = self.acceleration
        if self.accelerate is not None and (acceleration.file is None or not acceleration.file.exists()):
            check_name("acceleration", self.accelerate, ACCELERATIONS)
        if acceleration.file is not None:
            if self.strength is not None or self.attempts is not None:
                raise UsageError("a cache file was made for certain levels and guidance: give no strength or attempts")
            if self.loras or self.config is not None:
                raise UsageError("a cache file was made for a model folder as it is: give it no LoRA and no checkpoint")
        if self.solver_file is not None and acceleration.given:
            raise UsageError(
                f"a solver file was found for few steps, of which none can be spared: leave out {acceleration.option}"
            )
        for name, value, low, high in (
            ("parallel steps", self.parallel, 1, MOST_STEPS),
            ("steps", self.steps, 1, MOST_STEPS),
            ("guidance", self.guidance, 0, 100),
            ("guidance rescale", self.guidance_rescale, 0, 1),
            ("strength", self.strength, 0.05, 1),
            ("focus", self.focus, 0, 0.99),
            ("merge", self.merge, 0, 0.75),
            ("attempts", self.attempts, 1, 100),
            ("variants", self.n, 1, 100),
            ("seed", self.seed, 0, 2**63),
        ):
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} of {value}: from {low} to {high}")

        low, high = self.guidance_interval or (0, 1)
        if not 0 <= low < high <= 1:
            raise UsageError(f"guidance from time {low} to {high}: give two times from 0 to 1, the lower one first")

    @property
    def acceleration(self) -> AccelerationChoice:
        return AccelerationChoice(self.accelerate, self.parallel, self.budget, self.verify)

    @property
    def loras(self) -> tuple[LoraFile, ...]:
        return tuple(LoraFile.parse(os.fspath(each)) for each in self.lora)

    @property
    def reads(self) -> tuple[Path, ...]:
        """Files that a run reads besides its inputs: mask, table, solver file, cache, LoRA, SpeedUpNet and those of a
        model.
        """
        loras = (path for each in self.loras for path in each.files)
        given = (self.mask, self.csv, self.solver_file, self.speedup, self.acceleration.file, *loras)
        named = (path for path in given if path is not None)
        folder = Path(self.model) if self.config is None else self.config
        parts = (folder.rglob(pattern) for pattern in ("*.safetensors", "*.json") if os.path.isdir(folder))
        checkpoint = [] if self.config is None else [Path(self.model)]
        return (*named, *checkpoint, *chain.from_iterable(parts))

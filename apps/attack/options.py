"""The options of attack. Imports no torch, for the command line and for worker processes."""

import os
from dataclasses import dataclass, field, replace
from itertools import chain
from math import isfinite
from pathlib import Path

from fastdiff.apps.attack.presets import (
    DEFAULT,
    GRADIENTS,
    LOSSES,
    PERTURBED,
    PRESETS,
    Gradient,
    Loss,
    Perturbed,
    Preset,
    check_range,
)
from fastdiff.apps.attack.settings import AttackSettings
from fastdiff.apps.option_paths import take_paths
from fastdiff.apps.running.run import ADDED, STORED_NAME
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.validation import check_name

FROM_TABLE = "csv"  # the target that stands for the column of the labels
LONGEST_CAPTION = 2000  # characters
CHANGES = (
    "perturb",
    "gradient",
    "loss",
    "steps",
    "strength",
    "guidance",
    "iterations",
    "step",
    "epsilon",
    "momentum",
    "confidence",
    "early_stop",
    "eot",
)


@dataclass(frozen=True)
class Options:
    """The inputs, outputs and settings of a run of attack.

    `inputs`, `out` and the default names of outputs are as in `running.inputs.plan`, with the verb "attack".
    Outputs are PNG. `target` is the target class by name or index, or "csv" for the column of `labels`, a table with
    the columns image, true_label and target_label; None is any class but the true one. `labels` may also be a folder
    with a folder of pictures for every class (see `labels.of_folders`). Without labels, the true class is the predicted
    one. `classifier` is attacked, together with `surrogates`, and results are tested on `transfer`, by names of
    `fastdiff.models.classifier_loading`; `classes` is a file of class names. `model` names the diffusion prior. The
    options from `perturb` to `eot` override the preset of `method` (see `presets.Preset`); `epsilons` are the bounds of
    a curve of robust accuracy, in 1/255 (see `robustness_curve`). Captions are for
    text-conditioned priors: one for all, a JSON file by file name, or a captioning model; else a sentence with the
    class. Paths may be given as text.
    """

    inputs: tuple[str, ...]
    target: str | None = None
    labels: Path | None = None
    classifier: str = "efficientnet-lite0"
    classes: Path | None = None
    transfer: tuple[str, ...] = ()
    surrogates: tuple[str, ...] = field(default=(), metadata={ADDED: True})
    model: str = "photos"
    method: str = DEFAULT
    perturb: Perturbed | None = None
    gradient: Gradient | None = None
    loss: Loss | None = None
    steps: int | None = None
    strength: float | None = None
    guidance: float | None = None
    iterations: int | None = None
    step: float | None = None
    epsilon: float | None = field(default=None, metadata={STORED_NAME: "ball"})
    epsilons: tuple[float, ...] = field(default=(), metadata={ADDED: True})
    momentum: float | None = None
    confidence: float | None = None
    early_stop: bool | None = field(default=None, metadata={ADDED: True})
    eot: int | None = field(default=None, metadata={ADDED: True})
    caption: str | None = None
    caption_file: Path | None = None
    captioner: str | None = None
    export_training_pairs: Path | None = None
    out: Path | None = None
    recursive: bool = False
    force: bool = False
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    report: Path | None = None
    jobs: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        take_paths(self)
        if not self.inputs:
            raise UsageError("give pictures to attack")
        for what, given, allowed in (
            ("method", self.method, PRESETS),
            ("perturb", self.perturb, PERTURBED),
            ("gradient", self.gradient, GRADIENTS),
            ("loss", self.loss, LOSSES),
        ):
            if given is not None:
                check_name(what, given, allowed)
        check_range("seed", self.seed, 0, 2**63)
        check_range("batch", self.batch, 1, 1024)
        preset = self.preset
        if self.target == FROM_TABLE and self.labels is None:
            raise UsageError("--target csv takes the targets of a table: give it with --labels")
        if self.target == FROM_TABLE and self.labels is not None and self.labels.is_dir():
            raise UsageError(f"--target csv takes the targets of a table: {self.labels} is a folder")
        if sum(each is not None for each in (self.caption, self.caption_file, self.captioner)) > 1:
            raise UsageError("give one of --caption, --caption-file and --captioner")
        if self.caption is not None and len(self.caption) > LONGEST_CAPTION:
            raise UsageError(f"a caption of {len(self.caption)} characters: at most {LONGEST_CAPTION}")
        if self.batch > 1 and self.jobs > 1:
            raise UsageError("give --batch or --jobs, not both")
        own = PRESETS[self.method]
        if preset.perturb != own.perturb and not (preset.uses_prior and own.uses_prior):
            raise UsageError(
                "pixels are perturbed by --method pgd or mifgsm, textures by transfer, tone curves by semantic, "
                "latents by the others"
            )
        if self.epsilons:
            self._check_curve(preset)
        if set(self.surrogates) & {self.classifier, *self.transfer}:
            raise UsageError("a surrogate is neither the classifier itself nor one of --transfer")
        if preset.perturb == "maps" and preset.inversion == "ddim":
            raise UsageError(f"--method {self.method} has no noise maps: perturb x_T or x_k")

    def _check_curve(self, preset: Preset) -> None:
        if preset.perturb != "pixels" or self.epsilon is not None:
            raise UsageError("--epsilons are bounds on colours, in place of --epsilon: give --method pgd or mifgsm")
        if self.out is None or self.out.suffix.lower() == ".png":
            raise UsageError("--epsilons makes a folder for every bound: give the folder to put them into by --out")
        if not all(isfinite(bound) and 0 < bound <= 255 for bound in self.epsilons):
            raise UsageError(f"epsilons of {self.epsilons}: above 0, to 255, in 1/255")
        if self.export_training_pairs is not None:
            raise UsageError("--epsilons and --export-training-pairs: give one of them")

    @property
    def reads(self) -> tuple[Path, ...]:
        """Files that a run reads besides its inputs: labels, class names, captions, and those of a prior's folder."""
        named = (path for path in (self.labels, self.classes, self.caption_file) if path is not None)
        folder = Path(self.model)
        parts = (folder.rglob(pattern) for pattern in ("*.safetensors", "*.json") if os.path.isdir(folder))
        return (*named, *chain.from_iterable(parts))

    @property
    def preset(self) -> Preset:
        """The method's preset with the changes of these options."""
        changes = {name: value for name in CHANGES if (value := getattr(self, name)) is not None}
        return replace(PRESETS[self.method], **changes)

    @property
    def settings(self) -> AttackSettings:
        """The settings of the attacker."""
        return AttackSettings(
            self.method,
            self.preset,
            self.model,
            self.caption,
            self.caption_file,
            self.captioner,
            self.seed,
            self.device,
            self.dtype,
        )

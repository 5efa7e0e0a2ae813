"""The settings of an editor: the model, the preset, and how it treats pictures."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from fastdiff.apps.edit import cache_plan, tuned
from fastdiff.apps.edit.acceleration_check import check_acceleration
from fastdiff.apps.edit.acceleration_choice import AccelerationChoice
from fastdiff.apps.edit.defaults import default_preset, preset_of
from fastdiff.apps.edit.distilled import loras_of, speedup_of
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.presets import Preset
from fastdiff.apps.edit.sampling import inverter_of
from fastdiff.models.lora import LoraFile
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.lcm import check_consistency_points
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.validation import check_name

CHANGES = (  # options that change a preset
    *("solver", "steps", "guidance", "guidance_rescale", "guidance_interval", "strength", "focus", "merge"),
    "attempts",
)
# Options that change what a SpeedUpNet has built in.
BUILT_IN = ("guidance", "guidance_rescale", "guidance_interval", "focus", "blend", "emphasize", "release")
# Options that only edits of an inverted picture have.
INVERSION_OPTIONS = (
    *("solver", "solver_file", "strength", "focus", "merge", "blend", "emphasize", "release"),
    *("accelerate", "parallel"),
)


@dataclass(frozen=True)
class EditSettings:
    """Everything that an editor depends on.

    `name` is the preset's name, for reports. `config` is the folder of the configs of a checkpoint, `loras` change the
    model, and `speedup` is the file of its SpeedUpNet. `solver_file` replaces the preset's inversion and levels.
    `blend`, `negative`, `unknown_words`, `emphasize`, `release`, `residual`, `preview` and `acceleration` are as in
    `Options`. With `any_picture` the bundled model also edits pictures unlike its training data. `device` and `dtype`
    are as in `fastdiff.apps.device.resolve_device`.
    """

    model: str
    preset: Preset
    name: str
    config: Path | None = None
    loras: tuple[LoraFile, ...] = ()
    speedup: Path | None = None
    solver_file: Path | None = None
    blend: str | None = None
    negative: str | None = None
    unknown_words: bool = False
    emphasize: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    residual: bool = True
    preview: bool = False
    any_picture: bool = False
    acceleration: AccelerationChoice = field(default_factory=AccelerationChoice)
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    offload: bool = False


def settings_of(options: Options) -> EditSettings:
    """Resolve the options: the named (or default) preset of the model's family with the given overrides.

    Setting guidance or strength also sets `attempts` to 1. With one of INVERSION_OPTIONS, backgrounds are edited from
    the inverted picture instead of repainted. Guidance also replaces the guidance of repainting. Raises UsageError for
    an unknown solver, for one that inverts in no way, for what is no solver file, for an acceleration that does not go
    with the edit, and for models as `default_preset` does.
    """
    name = options.preset or default_preset(options.model, options.config)
    preset = _preset(options, name)
    return EditSettings(
        model=options.model,
        preset=preset,
        name=name,
        config=options.config,
        loras=loras_of(options.model, preset, options.loras),
        speedup=speedup_of(options.model, preset, options.speedup),
        solver_file=options.solver_file,
        blend=options.blend,
        negative=options.negative,
        unknown_words=options.unknown_words,
        emphasize=options.emphasize,
        release=options.release,
        residual=options.residual,
        preview=options.preview,
        any_picture=options.outside or options.force,
        acceleration=options.acceleration,
        device=options.device,
        dtype=options.dtype,
        compile=options.compile,
        offload=options.offload,
    )


def _preset(options: Options, name: str) -> Preset:
    if options.solver is not None:
        check_name("solver", options.solver, SOLVERS)
    changes = {change: value for change in CHANGES if (value := getattr(options, change)) is not None}
    if options.guidance is not None or options.strength is not None:
        changes.setdefault("attempts", 1)
    preset = preset_of(options.model, name, options.config)
    if preset.repaint_guidance is not None:
        steered = any(getattr(options, option) for option in INVERSION_OPTIONS)
        guidance = preset.repaint_guidance if options.guidance is None else options.guidance
        changes["repaint_guidance"] = None if steered else guidance
    chosen = replace(preset, **changes)
    if chosen.distilled and (options.solver or options.solver_file or options.acceleration.given):
        raise UsageError(f"preset {name} has the solver of distilled models: give it no other, and no acceleration")
    if chosen.distilled == "lcm":
        check_consistency_points(chosen.steps, chosen.strength)
    if chosen.distilled == "speedup" and (
        taken := [each for each in BUILT_IN if getattr(options, each) not in (None, ())]
    ):
        raise UsageError(
            f"preset {name} has guidance and attention to prompts built in: leave out --{taken[0].replace('_', '-')}"
        )
    if options.negative is not None and chosen.guidance == 1 and chosen.distilled != "speedup":
        raise UsageError("guidance of 1 leads away from nothing: give --negative another --guidance")
    if options.solver_file is not None:
        return tuned.planned(chosen, options.solver_file, options.steps)
    if (file := options.acceleration.file) is not None:
        chosen = cache_plan.planned(chosen, file, solver=options.solver, steps=options.steps)
    check_acceleration(
        options.acceleration,
        chosen,
        name,
        inverter_of(chosen, Noise()),
        preview=options.preview,
        compiled=options.compile,
        words=any((options.blend, options.emphasize, options.release)),
    )
    return chosen

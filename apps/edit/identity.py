"""Digests of what an edit depends on besides its input and prompts: by content, never by name.

An option counts where it changes the picture by more than rounding does: a precision does, a device, `compile`,
`offload` and the number of processes do not. `outside` and `force` decide whether a picture is edited, not how.
"""

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fastdiff.apps.device import resolve_device
from fastdiff.apps.edit.acceleration_choice import AccelerationChoice
from fastdiff.apps.edit.defaults import default_preset
from fastdiff.apps.edit.distilled import bundled_loras, bundled_speedup
from fastdiff.apps.edit.options import Options
from fastdiff.apps.edit.presets import PRESETS
from fastdiff.apps.running import output_manifest
from fastdiff.models import digest
from fastdiff.models.catalogue import BUNDLED, find
from fastdiff.models.lora import peft_version
from fastdiff.models.recogniser import WEIGHTS

CODE = ("fastdiff-toolkit", "diffusers", "transformers")  # packages that hold the code of the networks


def fingerprint(options: Options) -> str:
    """The digest of everything but input and prompts that an edit depends on, versions included.

    Raises UsageError for a file that cannot be read, MissingError for a model or a device that is not here.
    """
    recogniser = digest.of_file(Path(str(files("fastdiff.data") / WEIGHTS))) if options.model in BUNDLED else None
    return output_manifest.digest(
        repr(
            (
                [version(package) for package in CODE],
                named_files(options),
                recogniser,
                options.preset or default_preset(options.model, options.config),
                *(options.solver, options.steps, options.guidance, options.strength, options.focus, options.merge),
                *(options.attempts, options.blend, options.emphasize, options.release),
                *(options.residual, options.preview, resolve_device(options.device, options.dtype)[1]),
                *(each for each in (options.guidance_rescale, options.guidance_interval) if each is not None),
                *([] if options.negative is None else [("negative", options.negative)]),
                *_acceleration(options.acceleration),
                *([] if options.metadata else ["no metadata"]),
                *([("lora", peft_version(), [each.scale for each in options.loras])] if options.loras else []),
            )
        )
    )


def named_files(options: Options) -> dict[str, str | None]:
    """The digests of what the options name by its place, by the name of the option; None where one is not given.

    The bundled LoRA or SpeedUpNet of a preset belongs to the model. Those of LoRA files are one text, in their order.
    Theirs and those of a SpeedUpNet, a checkpoint and a cache file are left out without such files: earlier versions
    had none. Raises UsageError for a file that cannot be read, MissingError for a model that is not here.
    """
    loras = " ".join(digest.of_file(path) for each in options.loras for path in each.files)
    return {
        "model": _model(options),
        "mask": None if options.mask is None else digest.of_file(options.mask),
        "solver_file": None if options.solver_file is None else digest.of_file(options.solver_file),
        **({"lora": loras} if loras else {}),
        **({} if options.speedup is None else {"speedup": digest.of_file(options.speedup)}),
        **({} if options.acceleration.file is None else {"accelerate": digest.of_file(options.acceleration.file)}),
        **({} if options.config is None else {"checkpoint": digest.of_file(Path(options.model))}),
    }


def _model(options: Options) -> str:
    """Return the digest of the model, and that of the bundled LoRA or SpeedUpNet of the preset if it has one."""
    preset = PRESETS[options.preset or default_preset(options.model, options.config)]
    bundled = [path for each in bundled_loras(options.model, preset) for path in each.files]
    if options.speedup is None and (speedup := bundled_speedup(options.model, preset)):
        bundled.append(speedup)
    return " ".join([digest.of_model(find(options.model, options.config)), *map(digest.of_file, bundled)])


def _acceleration(choice: AccelerationChoice) -> list[tuple[object, ...]]:
    """The choice without the place of a file; nothing without an acceleration, as earlier versions had none."""
    name = None if choice.file else choice.name
    return [("acceleration", name, choice.parallel, choice.budget, choice.verify)] if choice.given else []

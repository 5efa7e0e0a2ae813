"""What an edit needs of a model, kinds of attention control and flow matching, and the refusal of edits without it."""

from collections.abc import Iterator

from fastdiff.apps.edit.defaults import default_preset
from fastdiff.apps.edit.presets import PRESETS, Preset
from fastdiff.apps.edit.settings import EditSettings
from fastdiff.inversion.registry import FLOW_ONLY
from fastdiff.models.diffusion_model import AttentionControl
from fastdiff.models.registry import attention_controls, is_flow_model
from fastdiff.solvers.errors import UsageError

OPTIONS: dict[AttentionControl, str] = {  # that need a control
    "cross-attention control": "--emphasize and --release",
    "word maps": "--blend and --focus",
    "token merging": "--merge",
}


def check_controls(settings: EditSettings) -> None:
    """Raise UsageError if the edit needs a control that the networks of its model's family do not allow, or a flow.

    The sentence names a preset that the model can run, or the options to leave out. Raises UsageError and MissingError
    for models as `fastdiff.models.registry.attention_controls` does.
    """
    if _needs_flow(settings) and not is_flow_model(settings.model, settings.config):
        raise UsageError(
            f"preset {settings.name} needs a flow model, which {settings.model} is not: "
            f"give --preset {default_preset(settings.model, settings.config)}"
        )
    if settings.preset.distilled and is_flow_model(settings.model, settings.config):
        raise UsageError(
            f"preset {settings.name} needs a model with timesteps, and {settings.model} is a flow model: "
            f"give --preset {default_preset(settings.model, settings.config)}"
        )
    allowed = attention_controls(settings.model, settings.config)
    lacking = sorted(_needed(settings) - allowed)
    if not lacking:
        return
    wanted = frozenset(_of_preset(PRESETS[settings.name]))
    if lacking[0] not in wanted:
        raise UsageError(f"{settings.model} has no {lacking[0]}: leave out {OPTIONS[lacking[0]]}")
    possible = [name for name, preset in PRESETS.items() if allowed.issuperset(_of_preset(preset))]
    nearest = max(possible, key=lambda name: len(wanted.intersection(_of_preset(PRESETS[name]))))
    raise UsageError(
        f"preset {settings.name} needs {lacking[0]}, which {settings.model} does not allow: give --preset {nearest}"
    )


def _needs_flow(settings: EditSettings) -> bool:
    replaced = settings.preset.solver is not None or settings.solver_file is not None
    return settings.preset.inversion in FLOW_ONLY and not replaced


def _needed(settings: EditSettings) -> frozenset[AttentionControl]:
    needed = set(_of_preset(settings.preset))
    if settings.emphasize or settings.release:
        needed.add("cross-attention control")
    if settings.blend:
        needed.add("word maps")
    return frozenset(needed)


def _of_preset(preset: Preset) -> Iterator[AttentionControl]:
    if preset.cross_attention:
        yield "cross-attention control"
    if preset.self_attention:
        yield "self-attention control"
    if preset.focus:
        yield "word maps"
    if preset.merge:
        yield "token merging"

"""Refuses accelerations that do not go with an edit, before a model is loaded."""

from fastdiff.apps.edit.acceleration_choice import AccelerationChoice
from fastdiff.apps.edit.presets import Preset
from fastdiff.inversion.edit_friendly import EditFriendly
from fastdiff.inversion.inversion import Inverter
from fastdiff.inversion.reversed import Reversed
from fastdiff.models.acceleration.budget import FEWEST_STEPS
from fastdiff.solvers.errors import UsageError

DETERMINISTIC = "--preset ledits --solver dpmpp-2m --steps 50"  # an edit that everything accelerates


def check_acceleration(
    choice: AccelerationChoice,
    preset: Preset,
    name: str,
    inverter: Inverter,
    *,
    preview: bool,
    words: bool,
    compiled: bool,
) -> None:
    """Raise UsageError if an edit by this preset, of this name, cannot be accelerated in this way.

    words: True if options such as --blend ask for the attention of words.
    """
    if not choice.given:
        return
    if preview:
        raise UsageError(f"a preview takes few steps, of which none can be spared: leave out {choice.option}")
    if compiled and choice.name not in (None, "sada"):
        raise UsageError(
            f"--compile would compile the network anew for the decisions of {choice.option}: leave out one of them"
        )
    if isinstance(inverter, EditFriendly):
        raise UsageError(
            f"preset {name} adds recorded noise at every step, so that no step tells about the next one: with "
            f"{choice.option}, give {DETERMINISTIC}"
        )
    if choice.name and preset.steps < FEWEST_STEPS:
        raise UsageError(
            f"{preset.steps} steps leave {choice.option} nothing to save: leave it out, or give --steps {FEWEST_STEPS} "
            "or more"
        )
    if preset.inversion == "o-belm" and preset.solver is None:
        raise UsageError(
            f"preset {name} is exact, but amplifies what {choice.option} changes: leave it out, or give --preset "
            "dit4edit"
        )
    controls = words or preset.cross_attention or preset.self_attention or preset.focus
    if choice.parallel and controls:
        raise UsageError(
            f"this edit changes attention step by step, so that {choice.option} cannot evaluate steps together: leave "
            f"out options of words, and give --preset rf-inversion or {DETERMINISTIC}"
        )
    if choice.name == "tokens" and (controls or preset.merge):
        raise UsageError(
            f"this edit changes attention, by which {choice.option} knows the tokens that it leaves out: leave out "
            f"options of words and --merge, and give --preset rf-inversion or {DETERMINISTIC}"
        )
    if choice.name and isinstance(inverter, Reversed) and inverter.solver.nfe_per_step != 1:
        raise UsageError(
            f"--solver {preset.solver} calls the network more than once in a step, and {choice.option} needs one call: "
            "give --solver dpmpp-2m"
        )

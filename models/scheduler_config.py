"""Scheduler settings of diffusers checkpoints, read into our schedule and grid without importing diffusers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import cos, exp, isfinite, pi
from pathlib import Path
from typing import Any

import numpy as np

from fastdiff.models.json_file import read_object
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.estimate import Prediction
from fastdiff.solvers.grids import (
    Grid,
    Spacing,
    beta,
    grid,
    karras,
    leading,
    linspace,
    log_snr,
    time_to_clean,
    time_uniform,
    trailing,
)
from fastdiff.solvers.schedule import DiscreteVP, Flow, Level, Schedule
from fastdiff.solvers.shared_timesteps import SharedTimesteps

PREDICTIONS: Mapping[str, Prediction] = {
    "epsilon": "eps",
    "sample": "x0",
    "v_prediction": "v",
    "flow_prediction": "flow",
}
FLOW_MATCHING = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
MULTISTEP = (
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
)
ONE_STEP = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler")
EULER = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
LONGEST_TABLE = 100_000  # training steps
SHARED_LABELS = "shared_labels"  # key of ours: the label below which the network was trained with shared ones


@dataclass(frozen=True)
class TrainedScheduler:
    """The schedule, prediction type and grid of a scheduler config."""

    schedule: Schedule
    predicts: Prediction
    timestep: Callable[[Level], float]  # level -> the label that the network was trained with
    spacing: Spacing
    clean: bool  # whether the last step goes to sigma 0

    def grid(self, steps: int) -> Grid:
        """The configured grid of `steps` steps, with float labels where diffusers rounds them."""
        return grid(self.spacing, self.schedule, steps, self.clean)


def read_scheduler_config(path: Path, tokens: int | None = None) -> TrainedScheduler:
    """Read `scheduler_config.json`, given itself or by its folder.

    `tokens` is the number of tokens of a picture, for flow matching whose shift depends on it. Raises UsageError for a
    file that is missing, too large, not JSON, or asks for what is not supported.
    """
    return scheduler_from_config(read_object(path / "scheduler_config.json" if path.is_dir() else path), tokens)


def scheduler_from_config(config: Mapping[str, Any], tokens: int | None = None) -> TrainedScheduler:
    """Read a parsed config, as `read_scheduler_config` does."""
    name = config.get("_class_name", MULTISTEP[0])
    if name in FLOW_MATCHING:
        return _flow_matching(config, tokens)
    if name not in (*MULTISTEP, *ONE_STEP, *EULER):
        known = ", ".join((*FLOW_MATCHING, *MULTISTEP, *ONE_STEP, *EULER))
        raise UsageError(f"scheduler {name!r}: one of {known}")
    if config.get("use_flow_sigmas"):
        return _flow_sigmas(config, name)
    schedule = DiscreteVP(_alphas_cumprod(config))
    clean = _lands_clean(config, name)
    shared = SharedTimesteps(_number(config, SHARED_LABELS, 0, 0, len(schedule.alphas_cumprod)))
    timestep = shared.wrap(schedule.timestep)
    return TrainedScheduler(schedule, _prediction(config), timestep, _spacing(config, name, clean), clean)


def is_flow(config: Mapping[str, Any]) -> bool:
    """True for the config of a flow matching model, whose network predicts velocities whatever `prediction_type` is."""
    name, predicts = str(config.get("_class_name")), config.get("prediction_type")
    return (
        name in FLOW_MATCHING
        or "FlowMatch" in name
        or bool(config.get("use_flow_sigmas"))
        or predicts == "flow_prediction"
    )


def _flow_matching(config: Mapping[str, Any], tokens: int | None) -> TrainedScheduler:
    steps = _training_steps(config)
    _refuse(config, "shift_terminal", "invert_sigmas")
    if tokens is not None and config.get("use_dynamic_shifting"):
        schedule = Flow(_shift_of(config, tokens), start=1.0, end=1 / steps)
    else:
        _refuse(config, "use_dynamic_shifting")
        shift = _number(config, "shift", 1.0, 1e-3, 1e3)
        cleanest = Flow(shift).level(1 / steps).sigma  # diffusers shifts the ends first, and the times between again
        schedule = Flow(shift, start=1.0, end=cleanest)
    return TrainedScheduler(schedule, "flow", lambda level: level.sigma * steps, time_uniform, clean=True)


def _shift_of(config: Mapping[str, Any], tokens: int) -> float:
    """Return the shift for a picture of so many tokens (Esser et al. 2024, arXiv 2403.03206, section 5.3.2).

    It lies on a line through two numbers of tokens; `time_shift_type` "exponential" draws the line for its logarithm.
    """
    few, many = (
        _number(config, key, default, 1, 1e6)
        for key, default in (("base_image_seq_len", 256), ("max_image_seq_len", 4096))
    )
    low, high = (_number(config, key, default, 0, 100) for key, default in (("base_shift", 0.5), ("max_shift", 1.15)))
    if few == many:
        raise UsageError(f"base_image_seq_len and max_image_seq_len of the scheduler config are both {few:g}")
    on_line = low + (high - low) * (tokens - few) / (many - few)
    kind = config.get("time_shift_type", "exponential")
    if kind not in ("exponential", "linear"):
        raise UsageError(f"time_shift_type {kind!r}: one of exponential, linear")
    shift = exp(min(on_line, 100)) if kind == "exponential" else on_line
    if shift <= 0:
        raise UsageError(
            f"the scheduler config gives a picture of {tokens} tokens a shift of {shift:g}: above 0 is read"
        )
    return shift


def _flow_sigmas(config: Mapping[str, Any], name: str) -> TrainedScheduler:
    _refuse(config, "use_dynamic_shifting", "shift_terminal", "invert_sigmas")
    shift, steps = _number(config, "flow_shift", 1.0, 1e-3, 1e3), _training_steps(config)
    predicts, timestep = _prediction(config), lambda level: level.sigma * steps
    if name == "UniPCMultistepScheduler":
        schedule = Flow(shift, start=1.0, end=1 / steps)
        return TrainedScheduler(schedule, predicts, timestep, partial(_without_last, time_uniform), clean=True)
    return TrainedScheduler(Flow(shift, 1 - 1 / steps, 1 / steps), predicts, timestep, time_to_clean, clean=True)


def _refuse(config: Mapping[str, Any], *options: str) -> None:
    for option in options:
        if config.get(option):
            raise UsageError(
                f"flow matching with {option} is not read: a constant shift is, and for Stable Diffusion 3 and FLUX.1 "
                "one by the size of the picture"
            )


def _spacing(config: Mapping[str, Any], name: str, clean: bool) -> Spacing:
    for option, spacing in {
        "use_karras_sigmas": karras,
        "use_exponential_sigmas": log_snr,
        "use_beta_sigmas": beta,
    }.items():
        if config.get(option):
            return spacing
    if config.get("use_lu_lambdas"):
        raise UsageError("use_lu_lambdas: only karras, exponential, beta and flow sigmas are read")
    kind = config.get("timestep_spacing", "linspace" if name in (*MULTISTEP, *EULER) else "leading")
    if kind == "trailing":
        return trailing if clean else partial(_then_first_knot, trailing)
    offset = _number(config, "steps_offset", 0.0, 0.0, _training_steps(config))
    spacings: Mapping[str, Spacing] = {"linspace": linspace, "leading": partial(leading, offset=offset)}
    if kind not in spacings:
        raise UsageError(f"timestep_spacing {kind!r}: one of linspace, leading, trailing")
    if kind == "leading" and offset and not clean and name not in MULTISTEP:
        return partial(_then_first_knot, spacings[kind])
    return partial(_without_last, spacings[kind]) if clean and name in MULTISTEP else spacings[kind]


def _then_first_knot(spacing: Spacing, schedule: Schedule, count: int) -> Grid:
    return (*spacing(schedule, count - 1), schedule.level(schedule.end))


def _without_last(spacing: Spacing, schedule: Schedule, count: int) -> Grid:
    return spacing(schedule, count + 1)[:-1]


def _lands_clean(config: Mapping[str, Any], name: str) -> bool:
    if name in ("DDIMScheduler", "PNDMScheduler"):
        return bool(config.get("set_alpha_to_one", name == "DDIMScheduler"))
    return bool(config.get("final_sigmas_type", "zero") == "zero")


def _prediction(config: Mapping[str, Any]) -> Prediction:
    given = config.get("prediction_type", "epsilon")
    if given not in PREDICTIONS:
        raise UsageError(f"prediction_type {given!r}: one of {', '.join(PREDICTIONS)}")
    return PREDICTIONS[given]


def _alphas_cumprod(config: Mapping[str, Any]) -> tuple[float, ...]:
    table = np.cumprod(1 - _betas(config))
    if config.get("rescale_betas_zero_snr"):
        table = _without_terminal_signal(table)
    return tuple(table.tolist())


def _without_terminal_signal(table: np.ndarray) -> np.ndarray:
    """Lin et al. 2024 (arXiv 2305.08891), algorithm 1, but with a last value above 0, so that lam stays finite."""
    root = np.sqrt(table)
    rescaled: np.ndarray = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    rescaled[-1] = rescaled[-2] / 4
    return rescaled


def _betas(config: Mapping[str, Any]) -> np.ndarray:
    trained, kind = config.get("trained_betas"), config.get("beta_schedule", "linear")
    if trained is not None:
        betas = _array(trained)
    else:
        steps = _training_steps(config)
        first, last = _number(config, "beta_start", 1e-4, 0.0, 1.0), _number(config, "beta_end", 0.02, 0.0, 1.0)
        if kind == "linear":
            betas = np.linspace(first, last, steps)
        elif kind == "scaled_linear":
            betas = np.linspace(first**0.5, last**0.5, steps) ** 2
        elif kind == "squaredcos_cap_v2":
            signal = np.array([cos((i / steps + 0.008) / 1.008 * pi / 2) ** 2 for i in range(steps + 1)])
            betas = np.minimum(1 - signal[1:] / signal[:-1], 0.999)
        else:
            raise UsageError(f"beta_schedule {kind!r}: one of linear, scaled_linear, squaredcos_cap_v2")
    if not ((betas > 0) & (betas < 1)).all():
        raise UsageError("the betas of the scheduler config must lie inside (0, 1)")
    return betas


def _array(values: Any) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError("trained_betas of the scheduler config: give a list of numbers") from error
    if array.ndim != 1 or not 2 <= array.size <= LONGEST_TABLE:
        raise UsageError(f"trained_betas of shape {array.shape}: give 2 to {LONGEST_TABLE} numbers")
    return array


def _training_steps(config: Mapping[str, Any]) -> int:
    return int(_number(config, "num_train_timesteps", 1000, 2, LONGEST_TABLE))


def _number(config: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not (isfinite(value) and low <= value <= high):
        raise UsageError(f"{key} {value!r} of the scheduler config: give a number from {low} to {high}")
    return value

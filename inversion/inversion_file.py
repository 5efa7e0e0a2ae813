"""Inversion files: safetensors with the states, and the rest as JSON in the header.

The levels of the grid identify the schedule: a file is read for a schedule that has these levels.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isclose
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fastdiff.inversion.edit_friendly import RecordedNoise, recorded_noise
from fastdiff.inversion.inversion import Inversion
from fastdiff.inversion.obelm import OBELM
from fastdiff.inversion.rf_inversion import ControlledFlow, RFInversion
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Solver, is_recordable
from fastdiff.solvers.lcm import LCM
from fastdiff.solvers.noise import Noise
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.schedule import Level, Schedule

LARGEST = 2**31  # bytes of a file that is read
STORED: Mapping[str, Callable[..., Solver[Any]]] = {**SOLVERS, "lcm": LCM}
OPTIONAL = {"residual": "residual", "misses": "step_residuals", "converged": "converged"}  # tensor -> field


@dataclass(frozen=True)
class InversionSettings:
    """The settings of an inversion, which reconstruction needs too."""

    method: str  # name of the inverter
    prompts: tuple[str, ...]  # one per picture
    guidance: float


def save_inversion(path: Path, inversion: Inversion, setting: InversionSettings) -> None:
    """Write the inversion to `path`, before direct inversion is applied to it.

    Raises UsageError unless its solver is O-BELM, that of RF-Inversion or one of STORED, with default options. Does
    not catch OSError.
    """
    name, maps = _named(inversion.solver)
    kept = {name: getattr(inversion, field) for name, field in OPTIONAL.items()}
    tensors = {"trajectory": inversion.trajectory, **maps, **{k: v for k, v in kept.items() if v is not None}}
    header = {**asdict(setting), "solver": name, "calls": inversion.nfe, "grid": inversion.grid}
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    path.write_bytes(save(whole, {"inversion": json.dumps(header)}))


def load_inversion(
    path: Path, schedule: Schedule, device: str | torch.device = "cpu"
) -> tuple[Inversion, InversionSettings]:
    """Read an inversion for sampling under this schedule, onto this device.

    Raises UsageError for a file that is too large, damaged or no inversion, and for another schedule.
    """
    header, tensors = _read(path, str(device))
    try:
        setting = InversionSettings(
            str(header["method"]), tuple(map(str, header["prompts"])), float(header["guidance"])
        )
        grid = tuple(Level(*map(float, level)) for level in header["grid"])
        nfe = int(header["calls"])
        trajectory, maps = tensors["trajectory"], tensors.get("maps")
        solver = _solver(header["solver"], grid, trajectory, maps)
        whole = _fits(setting, grid, solver, trajectory, maps)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise UsageError(f"{path} holds no inversion that this version reads: invert the picture again") from error
    if not whole:
        raise UsageError(f"{path} is damaged, its parts disagree: invert the picture again")
    if not all(_belongs(level, schedule) for level in grid):
        raise UsageError(f"{path} was made on another noise schedule than this model's: invert the picture again")
    return Inversion(solver, grid, trajectory, nfe, *map(tensors.get, OPTIONAL)), setting


def _named(solver: Solver[Any]) -> tuple[str, dict[str, Tensor]]:
    """Return the name of the solver, and its recorded tensors besides the trajectory."""
    if isinstance(solver, OBELM):
        return "o-belm", {}
    default = RFInversion()
    if isinstance(solver, ControlledFlow) and (solver.share, solver.start, solver.stop) == (
        default.eta,
        default.start,
        default.stop,
    ):
        return "rf-inversion", {}
    kept = {}
    if is_recordable(solver) and (maps := recorded_noise(solver)) is not None:
        kept, solver = {"maps": maps.z}, solver.with_noise(Noise())
    for name, make in STORED.items():
        if make() == solver:
            return name, kept
    raise UsageError(f"an inversion for {type(solver).__name__} with these options: only named solvers are stored")


def _solver(name: str, grid: Grid, trajectory: Tensor, maps: Tensor | None) -> Solver[Any]:
    if name == "o-belm":
        return OBELM(trajectory[1])
    if name == "rf-inversion":
        return RFInversion().sampler(trajectory[-1], grid)
    solver = STORED[name]()
    return solver.with_noise(RecordedNoise(maps)) if is_recordable(solver) and maps is not None else solver


def _read(path: Path, device: str) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UsageError(f"{path} is not a stored inversion of at most 2 GiB")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            header = json.loads((file.metadata() or {}).get("inversion", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a readable safetensors file") from error
    if not isinstance(header, dict):
        raise UsageError(f"{path} holds no inversion: give a file that `fastdiff invert` wrote")
    return header, tensors


def _fits(setting: InversionSettings, grid: Grid, solver: Solver[Any], trajectory: Tensor, maps: Tensor | None) -> bool:
    states = [trajectory] if maps is None else [trajectory, maps]
    return (
        len(grid) == len(trajectory) >= 2
        and len(setting.prompts) == trajectory.shape[1]
        and solver.stochastic == (maps is not None)
        and (maps is None or maps.shape == trajectory[1:].shape)
        and all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in states)
    )


def _belongs(level: Level, schedule: Schedule) -> bool:
    try:
        own = schedule.level(level.t)
    except (ArithmeticError, ValueError):
        return False
    return all(isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(level, own, strict=True))

"""Tuned solvers by name: the base solver of each, and how it is restored from stored tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fastdiff.solvers.consistency import CoefficientTable, ConsistencySolver
from fastdiff.solvers.consistency_policy import ConsistencyPolicy
from fastdiff.solvers.dc import DC
from fastdiff.solvers.dode import DODE
from fastdiff.solvers.dode_heun import HeunDODE
from fastdiff.solvers.dpm_v3 import DPMv3
from fastdiff.solvers.errors import UsageError
from fastdiff.solvers.iia import IIA, HeunIIA
from fastdiff.solvers.integration import Solver
from fastdiff.solvers.registry import SOLVERS
from fastdiff.solvers.teleport import Teleport
from fastdiff.solvers.unipc import UniPC
from fastdiff.solvers.v3_statistics import Statistics
from fastdiff.solvers.validation import check_name
from fastdiff.solvers.with_teleport import WithTeleport

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class TunedSolver:
    """`inner` makes the base solver; `restore` makes the tuned solver from the tensors of its fit.

    Both take options.
    """

    inner: Callable[..., Solver[Any]]
    restore: Callable[..., Solver[Any]]
    options: Mapping[str, Any]  # default options of `inner`


def base_solver(base: str, **options: Any) -> Solver[Any]:
    """Return the registered solver `base`. Raises UsageError if it does not exist or is stochastic."""
    check_name("solver", base, SOLVERS)
    solver = SOLVERS[base](**options)
    if solver.stochastic:
        raise UsageError(f"{base} adds noise and is not tuned: give a deterministic solver")
    return solver


def base_unipc(base: str, **options: Any) -> UniPC:
    """Return the UniPC solver that DC-Solver compensates. Raises UsageError as `base_solver`, and for other solvers."""
    inner = base_solver(base, **options)
    if not isinstance(inner, UniPC):
        raise UsageError(f"DC-Solver around {base}: it compensates unipc")
    return inner


def _dc(tensors: Tensors, **options: Any) -> Solver[Any]:
    return DC.from_tensors(tensors, base_unipc(**options))


def _dode(tensors: Tensors, base: str, **options: Any) -> Solver[Any]:
    return (
        HeunDODE.from_tensors(tensors) if base == "heun" else DODE.from_tensors(tensors, base_solver(base, **options))
    )


def _iia(tensors: Tensors, base: str, **options: Any) -> Solver[Any]:
    return (HeunIIA if base == "heun" else IIA).from_tensors(tensors, base_solver(base, **options))


def _v3(tensors: Tensors, **options: Any) -> Solver[Any]:
    return DPMv3(Statistics(*(tensors[name] for name in ("lam", "linear", "slope", "offset"))), **options)


def gaussian(tensors: Tensors) -> Teleport:
    """Return the Gaussian of teleportation."""
    return Teleport(*(tensors[name] for name in ("mean", "basis", "eigenvalues")))


def _teleported(tensors: Tensors, base: str, skip: int, **options: Any) -> Solver[Any]:
    return WithTeleport(base_solver(base, **options), gaussian(tensors), skip)


def _teleported_iia(tensors: Tensors, base: str, skip: int, **options: Any) -> Solver[Any]:
    return WithTeleport(_iia(tensors, base, **options), gaussian(tensors), skip)


def _consistency(tensors: Tensors, base: str) -> Solver[Any]:
    return ConsistencySolver(ConsistencyPolicy.from_tensors(tensors).coefficients)


def _consistency_table(tensors: Tensors, base: str) -> Solver[Any]:
    return ConsistencySolver(CoefficientTable.from_tensors(tensors))


TUNED = {
    "dc": TunedSolver(base_unipc, _dc, {"base": "unipc", "order": 2}),
    "v3": TunedSolver(base_solver, _v3, {"base": "unipc", "order": 2}),
    "dode": TunedSolver(base_solver, _dode, {"base": "dpmpp-2m"}),
    "iia": TunedSolver(base_solver, _iia, {"base": "dpmpp-2m"}),
    "teleport": TunedSolver(base_solver, _teleported, {"base": "dpmpp-2m"}),
    "teleport-iia": TunedSolver(base_solver, _teleported_iia, {"base": "dpmpp-2m"}),
    "consistency": TunedSolver(base_solver, _consistency, {"base": "dpmpp-2m"}),
    "consistency-gradients": TunedSolver(base_solver, _consistency_table, {"base": "dpmpp-2m"}),
}

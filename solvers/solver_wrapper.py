"""Base of solvers around solvers.

Changes of the state after a step are solvers too, so `integrate` is the only loop.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastdiff.solvers.integration import Solver

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class SolverWrapper(Generic[S]):
    """Has the properties of `inner`. A subclass defines `init` and `step`."""

    inner: Solver[S]

    @property
    def order(self) -> int:
        return self.inner.order

    @property
    def nfe_per_step(self) -> int:
        return self.inner.nfe_per_step

    @property
    def one_step(self) -> bool:
        return self.inner.one_step

    @property
    def stochastic(self) -> bool:
        return self.inner.stochastic


def solvers_within(solver: Solver[Any]) -> list[Solver[Any]]:
    """Return the solver and those inside it, the innermost last."""
    return [solver, *(solvers_within(solver.inner) if isinstance(solver, SolverWrapper) else [])]

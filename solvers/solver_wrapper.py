"""Solvers around solvers: what acts on the state after a step is a solver too, and `integrate` stays the only loop."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from fastdiff.solvers.integration import Solver

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class SolverWrapper(Generic[S]):
    """The properties of `inner`; a subclass says what its steps are."""

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

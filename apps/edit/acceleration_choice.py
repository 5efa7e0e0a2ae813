"""The acceleration that a person chose for the sampling of edits. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from fastdiff.models.acceleration.budget import check_budget
from fastdiff.solvers.errors import UsageError

CACHES = ("blocks", "first-block", "teacache", "taylor", "magcache", "tokens")  # of blocks of the network
ACCELERATIONS = (*CACHES, "sada")
BUDGET = 0.5  # by default


@dataclass(frozen=True)
class AccelerationChoice:
    """One of ACCELERATIONS or a cache file by its path, or steps that are evaluated together, or neither.

    `budget` is the aimed cost of sampling, as a share of its cost without acceleration, in (0, 1]. With `verify`, every
    edit is sampled without acceleration too.

    Raises UsageError for both, for a budget or a verification without any, and for numbers outside their range.
    """

    name: str | None = None
    parallel: int | None = None  # steps, at most
    budget: float | None = None
    verify: bool = False

    def __post_init__(self) -> None:
        if self.name and self.parallel:
            raise UsageError(
                "--accelerate decides from step to step, and --parallel evaluates steps together: give one of them"
            )
        if self.budget is not None and self.name is None:
            raise UsageError(f"a budget of {self.budget:g} without --accelerate: give both, or neither")
        if self.budget is not None:
            check_budget(self.budget)
        if self.budget is not None and self.file is not None:
            raise UsageError(f"a budget of {self.budget:g} with a cache file, which was made for one: leave it out")
        if self.verify and not self.given:
            raise UsageError("--verify compares with the edit without acceleration: give --accelerate or --parallel")

    @property
    def file(self) -> Path | None:
        """The cache file."""
        return None if self.name is None or self.name in ACCELERATIONS else Path(self.name)

    @property
    def given(self) -> bool:
        return self.name is not None or self.parallel is not None

    @property
    def option(self) -> str:
        """The option in words, for messages and reports."""
        return f"--accelerate {self.name}" if self.name else f"--parallel {self.parallel}"

    @property
    def aim(self) -> float:
        return BUDGET if self.budget is None else self.budget

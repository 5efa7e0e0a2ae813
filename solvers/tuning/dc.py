"""The search for the ratios of DC-Solver (Zhao et al. 2024, arXiv 2409.03755), step by step.

Each ratio in turn brings the state at the end of its step, once corrected, as near as it can to that of a teacher. It
is one number, so its least error is found between bounds without gradients; every trial costs a call of the denoiser.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.optimize import minimize_scalar
from torch import Tensor

from fastdiff.solvers.dc import DC, POINTS, Memory
from fastdiff.solvers.denoiser import Denoiser
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import Step, steps_of
from fastdiff.solvers.tuning.teacher import Batch, Teacher, Watch, unwatched
from fastdiff.solvers.unipc import Arrival, UniPC

BOUNDS = (0.0, 2.0)  # of a ratio


@dataclass(frozen=True, eq=False)
class Run:
    """A batch on its way through the grid."""

    f: Denoiser
    targets: Sequence[Tensor]  # of all levels
    arrival: Arrival
    state: Memory

    def error(self, solver: DC, step: Step, ratio: float) -> float:
        """Squared distance to the target at the end of the step, with this ratio."""
        x, state = solver.leave(self.arrival, step, self.state, ratio)
        if solver.inner.corrector and step.left > 1:
            x = solver.arrive(self.f, x, step.u, state).x
        return (x - self.targets[step.index + 1]).double().square().sum().item()

    def moved(self, solver: DC, step: Step, ratio: float) -> "Run":
        """The run at the end of the step, the denoiser called there."""
        x, state = solver.leave(self.arrival, step, self.state, ratio)
        return replace(self, arrival=solver.arrive(self.f, x, step.u, state), state=state)


def fit(
    batches: Sequence[Batch], levels: Grid, teacher: Teacher, inner: UniPC | None = None, watch: Watch = unwatched
) -> DC:
    """`inner` with the ratios that serve all batches on this falling grid.

    The denoisers must not remember earlier calls. `watch` is told the steps done, and of how many.
    """
    steps = len(levels) - 1
    solver = DC(inner or UniPC(), (1.0,) * steps)
    start = solver.init(levels)
    runs = [Run(f, teacher(f, x), solver.arrive(f, x, levels[0], start), start) for f, x in batches]
    ratios: list[float] = []
    for step in steps_of(levels):
        ratios.append(_best(solver, runs, step) if step.index + 1 >= POINTS else 1.0)
        if step.left > 1:
            runs = [run.moved(solver, step, ratios[-1]) for run in runs]
        watch(step.index + 1, steps)
    return replace(solver, ratios=tuple(ratios))


def _best(solver: DC, runs: Sequence[Run], step: Step) -> float:
    """The ratio of least error that a search between bounds finds, 1 where it finds none better."""

    def error(ratio: float) -> float:
        return sum(run.error(solver, step, ratio) for run in runs)

    found = minimize_scalar(error, bounds=BOUNDS, method="bounded", options={"xatol": 1e-6})
    return float(found.x) if found.fun < error(1.0) else 1.0

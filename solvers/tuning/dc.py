"""Search of DC-Solver's ratios (Zhao et al. 2024, arXiv 2409.03755), step by step.

Each ratio in turn minimizes the distance between the corrected end of its step and a teacher's state. A bounded scalar
search without gradients finds it; every trial costs one network evaluation.
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
    targets: Sequence[Tensor]  # teacher's states at all levels
    arrival: Arrival
    state: Memory

    def error(self, solver: DC, step: Step, ratio: float) -> float:
        """Return the squared distance to the target at the end of the step, with this ratio."""
        x, state = solver.leave(self.arrival, step, self.state, ratio)
        if solver.inner.corrector and step.left > 1:
            x = solver.arrive(self.f, x, step.u, state).x
        return (x - self.targets[step.index + 1]).double().square().sum().item()

    def moved(self, solver: DC, step: Step, ratio: float) -> "Run":
        """Return the run at the end of the step, after the evaluation there."""
        x, state = solver.leave(self.arrival, step, self.state, ratio)
        return replace(self, arrival=solver.arrive(self.f, x, step.u, state), state=state)


def fit(
    batches: Sequence[Batch], levels: Grid, teacher: Teacher, inner: UniPC | None = None, watch: Watch = unwatched
) -> DC:
    """Return `inner` with the best ratios for all batches on this falling grid.

    The denoisers must not remember earlier calls. Calls `watch` with the number of finished steps and their total.
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
    """Return the ratio with the least error that the bounded search finds; 1 if it finds no better one."""

    def error(ratio: float) -> float:
        return sum(run.error(solver, step, ratio) for run in runs)

    found = minimize_scalar(error, bounds=BOUNDS, method="bounded", options={"xatol": 1e-6})
    return float(found.x) if found.fun < error(1.0) else 1.0

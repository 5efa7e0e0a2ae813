"""Coefficients of ConsistencySolver by gradients through the run, in place of a policy and its fixed values.

L-BFGS minimizes the mean logarithm of the squared distances to the references, the reward of
`fastdiff.solvers.tuning.consistency`, over all batches at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fastdiff.solvers.consistency import COUNT, CoefficientTable, ConsistencySolver
from fastdiff.solvers.denoiser import DenoiserWrapper
from fastdiff.solvers.estimate import Estimate
from fastdiff.solvers.grids import Grid
from fastdiff.solvers.integration import integrate
from fastdiff.solvers.schedule import Level
from fastdiff.solvers.tuning.consistency import distance
from fastdiff.solvers.tuning.teacher import Batch, Watch, unwatched

ROUNDS = 30  # runs of all batches; the last search along a line may take a few more


@dataclass(frozen=True, eq=False)
class Recomputed(DenoiserWrapper):
    """Keeps no intermediate values for gradients: the backward pass computes each call again."""

    def __call__(self, x: Tensor, level: Level) -> Estimate:
        return Estimate(*checkpoint(self.inner, x, level, use_reentrant=False))

    def at_levels(self, states: Tensor, levels: Sequence[Level]) -> list[Estimate]:
        return [self(x, level) for x, level in zip(states, levels, strict=True)]


def fit(
    batches: Sequence[Batch], references: Sequence[Tensor], levels: Grid, watch: Watch = unwatched
) -> CoefficientTable:
    """Return the coefficients that about ROUNDS runs of all batches find on this falling grid, from those of DDIM.

    `references` are the ends (B, ...) that the batches should reach. Gradients must be enabled; the network's weights
    need none. Calls `watch` with the number of finished runs and ROUNDS.
    """
    steps, runs = len(levels) - 1, 0

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal runs
        coefficients = torch.tensor(flat.reshape(steps, COUNT), requires_grad=True)
        solver = ConsistencySolver(lambda _: [row.unbind() for row in coefficients])
        values = [
            distance(integrate(Recomputed(f), solver, x, levels).x, reference).log()
            for (f, x), reference in zip(batches, references, strict=True)
        ]
        value = torch.cat(values).mean()
        (gradient,) = torch.autograd.grad(value, coefficients)
        runs += 1
        watch(min(runs, ROUNDS), ROUNDS)
        return value.item(), gradient.nan_to_num().flatten().numpy()

    if steps == 1:  # which has no coefficients
        return CoefficientTable([[0.0] * COUNT])
    found = minimize(objective, np.zeros(steps * COUNT), jac=True, method="L-BFGS-B", options={"maxfun": ROUNDS})
    return CoefficientTable(found.x.reshape(steps, COUNT).tolist())

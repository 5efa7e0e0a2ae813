"""Fit of a `Cascade` to ratios that were searched at several guidance scales and step counts."""

from collections.abc import Mapping

import numpy as np

from fastdiff.solvers.dc import DC, POINTS
from fastdiff.solvers.dc_cascade import Cascade, terms


def fit(searched: Mapping[tuple[float, int], DC]) -> Cascade:
    """Fit all 36 coefficients at once by least squares to the solvers searched at each (guidance, steps).

    Three guidance scales and three step counts, with four ratios or more each, determine them. With fewer, returns the
    least-norm solution.
    """
    rows, ratios = [], []
    for (guidance, steps), solver in searched.items():
        for step in range(POINTS, steps + 1):
            rows.append(terms(guidance, steps, step))
            ratios.append(float(solver.ratios[step - 1]))
    return Cascade(tuple(map(float, np.linalg.lstsq(np.array(rows), np.array(ratios))[0])))
